"""The manifests of ``examples/serving/kubernetes``: the schemas of Kubernetes, and the programs that they start."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from yoj.serving.cli import main

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "examples" / "serving" / "kubernetes").glob("*.yaml"))
VERSION = "1.34"
needs_schemas = pytest.mark.skipif(
    importlib.util.find_spec("kubernetes_validate") is None, reason="kubernetes-validate is not installed"
)


def objects() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in FILES:
        for one in yaml.safe_load_all(file.read_text("utf-8")):
            yield f"{file.stem}-{one['kind']}", one


OBJECTS = dict(objects())


def pod_of(manifest: dict[str, Any]) -> dict[str, Any] | None:
    """The specification of the pods that an object makes."""
    if manifest["kind"] == "InferenceService":
        own = {"minReplicas", "maxReplicas"}
        return {name: value for name, value in manifest["spec"]["predictor"].items() if name not in own}
    return manifest["spec"]["template"]["spec"] if manifest["kind"] == "Deployment" else None


PODS = {name: pod for name, manifest in OBJECTS.items() if (pod := pod_of(manifest)) is not None}


def validate(manifest: dict[str, Any]) -> None:
    import kubernetes_validate

    kubernetes_validate.validate(manifest, VERSION, strict=True)


@needs_schemas
@pytest.mark.parametrize("name", OBJECTS)
def test_it_is_what_the_schema_says(name):
    manifest = OBJECTS[name]
    if manifest["kind"] == "InferenceService":  # an extension, whose predictor is the specification of a pod
        assert manifest["apiVersion"] == "serving.kserve.io/v1beta1"
        assert manifest.keys() == {"apiVersion", "kind", "metadata", "spec"}
        assert manifest["spec"].keys() == {"predictor"}
        manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": manifest["metadata"], "spec": PODS[name]}
    validate(manifest)


@needs_schemas
def test_a_wrong_field_is_found():
    import kubernetes_validate

    wrong = yaml.safe_load(yaml.safe_dump(OBJECTS["http-Deployment"]))
    wrong["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readinesProbe"):
        validate(wrong)


@pytest.mark.parametrize("name", PODS)
def test_pods_have_no_more_rights_than_they_need(name):
    pod = PODS[name]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize("name", [name for name in PODS if not name.startswith("triton")])
def test_the_command_has_these_options(name):
    pod = PODS[name]
    (container,) = pod["containers"]
    program, command, *words = container["args"]
    assert program == "yoj-serve"
    with click.Context(main) as context:
        options = main.commands[command].make_context(command, words, parent=context).params
    port = options["port" if command == "http" else "http_port"]
    assert [one["containerPort"] for one in container["ports"]] == [port]
    assert float(container["resources"]["limits"]["cpu"]) == options["threads"]
    before = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    assert pod["terminationGracePeriodSeconds"] >= before + options["deadline"] + 5


def test_the_probes_are_routes_of_the_server():
    source = "".join(file.read_text("utf-8") for file in (ROOT / "serving" / "yoj" / "serving").glob("_*.py"))
    (container,) = PODS["http-Deployment"]["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert f'"{container[probe]["httpGet"]["path"]}"' in source


def test_services_find_their_pods():
    for stem in ("http", "triton"):
        template = OBJECTS[f"{stem}-Deployment"]["spec"]["template"]
        service = OBJECTS[f"{stem}-Service"]["spec"]
        assert service["selector"] == template["metadata"]["labels"]
        named = {port["name"] for port in template["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["ports"]} == named
    assert OBJECTS["autoscaler-HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == "judge"
