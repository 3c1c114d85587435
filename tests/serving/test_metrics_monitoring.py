"""What `examples/serving` asks of Prometheus exists in the real server's metrics, and its files are valid."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from test_app import RESPONSES, data_url, picture

pytestmark = pytest.mark.export

EXAMPLES = Path(__file__).parents[2] / "examples" / "serving"
DASHBOARD = json.loads((EXAMPLES / "grafana" / "dashboard.json").read_text("utf-8"))
RULES = yaml.safe_load((EXAMPLES / "rules.yml").read_text("utf-8"))
CONFIG = yaml.safe_load((EXAMPLES / "prometheus.yml").read_text("utf-8"))
SHOWN = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
ALERTS = [rule["expr"] for group in RULES["groups"] for rule in group["rules"]]
OF_PROMETHEUS = {"up", "instance", "job", "le"}
"""Metrics and labels that Prometheus itself makes, or that every histogram has."""


def named(expression: str) -> tuple[set[str], set[str]]:
    """Names of the metrics and of the labels in an expression."""
    labels = {label for listed in re.findall(r"by \(([^)]*)\)", expression) for label in listed.split(", ")}
    labels |= set(re.findall(r"(\w+)(?:=|!=|=~|!~)\"", expression))
    return set(re.findall(r"\b(?:yoj_\w+|up)\b", expression)), labels


@pytest.fixture(scope="module")
def exposed(served):
    """Name of a metric -> its labels; None where there is no sample yet."""
    ask_everything(served)
    found: dict[str, set[str] | None] = {}
    for family in text_string_to_metric_families(served.client.get("/metrics").text):
        found[f"{family.name}_total" if family.type == "counter" else family.name] = None
        for sample in family.samples:
            found[sample.name] = (found.get(sample.name) or set()) | sample.labels.keys()
    return found


def ask_everything(served) -> None:
    """Make samples of every metric."""
    assert served.judge(image=data_url(picture())).status_code == 200
    assert served.client.post("/rerank", json={"query": "Which?", "documents": RESPONSES}).status_code == 200
    assert served.client.post("/rerank", json={}).status_code == 400


@pytest.mark.parametrize("expression", [*SHOWN, *ALERTS])
def test_metrics_and_labels_exist(expression, exposed):
    metrics, labels = named(expression)
    assert metrics
    assert metrics <= exposed.keys() | OF_PROMETHEUS
    counted = [exposed[one] for one in metrics & exposed.keys()]
    if None not in counted:  # a counter with labels has none before it first counts
        assert labels <= set().union(*counted) | OF_PROMETHEUS


def test_every_metric_is_on_the_dashboard(exposed):
    shown = set().union(*(named(one)[0] for one in SHOWN))
    families = {re.sub("_(bucket|sum|count|created|total)$", "", name) for name in exposed}
    assert {one for one in families if one.startswith("yoj_")} == {
        re.sub("_(bucket|sum|count|total)$", "", name) for name in shown
    }


def test_files_name_one_another():
    (source,) = yaml.safe_load((EXAMPLES / "grafana" / "datasources.yml").read_text("utf-8"))["datasources"]
    used = {(panel["datasource"]["type"], panel["datasource"]["uid"]) for panel in DASHBOARD["panels"]}
    assert used == {(source["type"], source["uid"])}
    services = yaml.safe_load((EXAMPLES / "compose.yaml").read_text("utf-8"))["services"]
    assert source["url"].split("/")[2].split(":")[0] in services
    (target,) = CONFIG["scrape_configs"][0]["static_configs"][0]["targets"]
    assert target.split(":")[0] in services
    mounts = [mount.rsplit(":", 2)[0] for one in services.values() for mount in one["volumes"] if mount[0] == "."]
    assert [mount for mount in mounts if not (EXAMPLES / mount).is_file()] == []
    kinds = [EXAMPLES.rglob(f"*.{ending}") for ending in ("yml", "json")]
    assert {(EXAMPLES / mount).resolve() for mount in mounts} == {path for kind in kinds for path in kind}
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_the_tool_of_prometheus_takes_the_files():
    tool = shutil.which("promtool") or pytest.skip("promtool, of Debian's package prometheus, is not installed")
    done = subprocess.run([tool, "check", "config", EXAMPLES / "prometheus.yml"], capture_output=True, text=True)
    assert (done.returncode, f"{len(ALERTS)} rules found" in done.stdout) == (0, True), done.stdout + done.stderr


def test_compose_takes_its_file():
    command = compose() or pytest.skip("neither docker compose nor docker-compose is installed")
    done = subprocess.run(
        [*command, "-f", EXAMPLES / "compose.yaml", "config", "--quiet"],
        env=os.environ | {"YOJ_BUNDLE": "/bundles/judge.yoj"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def compose() -> list[str] | None:
    if (alone := shutil.which("docker-compose")) is not None:
        return [alone]
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0:
        return [docker, "compose"]
    return None


@pytest.mark.slow
def test_prometheus_finds_a_value_of_every_expression(served, exposed, tmp_path):
    program = shutil.which("prometheus") or pytest.skip("Debian's package prometheus is not installed")
    config = CONFIG | {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}}
    config["rule_files"] = [str(EXAMPLES / "rules.yml")]
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{served.port}"]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")
    arguments = [f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([program, *arguments, "--web.listen-address=127.0.0.1:0"], stderr=log)
    try:
        with httpx.Client(base_url=f"http://{address_in(tmp_path / 'log')}", timeout=10) as client:
            # A counter of errors that nothing has raised has no series, which is no value, not a fault.
            wanted = [one for one in SHOWN if None not in [exposed.get(name) for name in named(one)[0]]]
            wait_for(lambda: ask_everything(served) or all(values(client, one) for one in wanted))
            rules = client.get("/api/v1/rules").json()["data"]["groups"][0]["rules"]
            assert [rule["health"] for rule in rules] == ["ok"] * len(ALERTS)
    finally:
        process.terminate()
        process.wait(30)


def address_in(log: Path) -> str:
    """Address at which Prometheus listens, which its log names."""
    wait_for(lambda: re.search(r'(?i:listening on)" address=(\S+)', log.read_text()))
    return re.findall(r'(?i:listening on)" address=(\S+)', log.read_text())[-1]


def values(client: httpx.Client, expression: str) -> list:
    """Numbers that Prometheus finds; without NaN, which is what a share of nothing is."""
    answer = client.get("/api/v1/query", params={"query": expression}).json()
    assert answer["status"] == "success", answer
    return [one for one in answer["data"]["result"] if one["value"][1] != "NaN"]


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not so after {seconds} s"
        time.sleep(0.5)
