"""Lines of the container files are run, as far as they run without a container engine."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner
from test_app import RESPONSES, right, untimed

from yoj.serving._guard import OPEN_PATHS
from yoj.serving.cli import http

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "serving"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
FILES = ["Containerfile", "Containerfile.gpu"]


@dataclass
class Stage:
    """One stage of a container file: its instructions, in order."""

    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        return [rest for instruction, rest in self.steps if instruction == name]

    def only(self, name: str) -> str:
        (rest,) = self.all(name)
        return rest

    @property
    def health(self) -> list[str]:
        return json.loads(self.only("HEALTHCHECK").partition(" CMD ")[2])

    @property
    def command(self) -> list[str]:
        return json.loads(self.only("CMD"))


def stages(name: str) -> list[Stage]:
    found: list[Stage] = []
    for line in (EXAMPLES / name).read_text("utf-8").splitlines():
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            found.append(Stage(rest))
        elif line and not line.startswith("#"):
            found[-1].steps.append((instruction, rest))
    return found


@pytest.mark.parametrize("name", FILES)
def test_what_is_copied_is_there_and_is_all_that_the_wheel_takes(name):
    build, _ = stages(name)
    copied = {one for line in build.all("COPY") for one in line.split()[:-1]}
    assert [one for one in copied if not (ROOT / one).exists()] == []
    packages = {path.split("/")[0] for path in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]}
    readme, (licence,) = PROJECT["project"]["readme"], PROJECT["project"]["license-files"]
    assert copied == packages | {readme, licence, "pyproject.toml", ".gitignore"}


@pytest.mark.parametrize("name", FILES)
def test_the_extras_exist_and_hold_an_engine_and_the_server(name):
    *_, install = stages(name)[0].all("RUN")
    extras = set(install.rpartition("[")[2].rstrip(']"').split(","))
    assert extras <= PROJECT["project"]["optional-dependencies"].keys()
    assert {"serve", "trt" if name.endswith("gpu") else "ort"} <= extras


@pytest.mark.parametrize("name", FILES)
def test_the_image_runs_a_command_that_there_is_as_a_user_without_rights(name):
    image = stages(name)[1]
    program, command, *arguments = image.command
    assert (program in PROJECT["project"]["scripts"], command) == (True, http.name)
    context = http.make_context(command, arguments)  # an option that is not known is an error
    assert context.params["host"] == "0.0.0.0"
    assert str(context.params["port"]) == image.only("EXPOSE")
    uid, gid = map(int, image.only("USER").split(":"))
    assert min(uid, gid) > 0
    (quoted,) = [part for part in image.health[-1].split("'") if part.startswith("http")]
    url = urlsplit(quoted)
    assert (url.port, url.path in OPEN_PATHS) == (context.params["port"], True)


def test_the_bundle_of_the_command_is_where_compose_mounts_it():
    mount = f":{stages('Containerfile')[1].command[2]}:ro\n"
    assert mount in (EXAMPLES / "compose.yaml").read_text("utf-8")
    assert CliRunner().invoke(http, ["--help"]).exit_code == 0


@pytest.fixture(scope="module")
def root_of_image():
    """A folder in which the lines of the CPU's file were run, as if it was ``/``. Another user may read it."""
    with tempfile.TemporaryDirectory(prefix="yoj-image-") as name:
        root = Path(name).resolve()
        root.chmod(0o755)
        reach = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", str(root / "reach"), "click"]
        if subprocess.run(reach, capture_output=True).returncode != 0:
            pytest.skip("pip reaches no package index, from which an image installs what yoj needs")
        build, image = stages("Containerfile")
        (root / "bin").mkdir()
        (root / "bin" / "python").symlink_to(sys.executable)
        source = root / build.only("WORKDIR").lstrip("/")
        for line in build.all("COPY"):
            *copied, target = line.split()
            for one in copied:
                copy(ROOT / one, source / target / ("" if target == "./" else "."), one)
        environment = {key: os.environ[key] for key in os.environ if not key.startswith("PYTHON")}
        environment["PATH"] = f"{root / 'bin'}:{environment['PATH']}"
        for line in build.all("RUN"):
            done = subprocess.run(
                ["sh", "-ec", under(root, line)], cwd=source, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        (copied,) = image.all("COPY")
        assert shlex.split(copied) == ["--from=build", "/opt/yoj", "/opt/yoj"]
        yield root


def copy(path: Path, folder: Path, name: str) -> None:
    if path.is_dir():
        shutil.copytree(path, folder.parent / name)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder)


def under(root: Path, text: str) -> str:
    """A line whose absolute paths lie below a folder."""
    for top in ("/opt/yoj", "/wheels", "/bundles"):
        text = text.replace(top, str(root / top[1:]))
    return text


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.export
def test_the_image_serves_without_rights_and_without_writing(root_of_image, bundle, scorer):
    root, image = root_of_image, stages("Containerfile")[1]
    if os.getuid() != 0 or subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "true"]).returncode != 0:
        pytest.skip("this user may not make namespaces of mounts, network and processes")
    shutil.copytree(bundle("qwen3_vl", "assistant"), root / "bundles" / "judge.yoj")
    environment = dict(one.split("=", 1) for one in shlex.split(image.only("ENV")))
    environment["PATH"] = under(root, environment["PATH"]).replace("$PATH", "/usr/bin:/bin")
    uid, gid = map(int, image.only("USER").split(":"))
    (root / "hold").mkdir()
    request = {"prompt": "Which?", "responses": RESPONSES}
    asked = {
        "uid": uid,
        "gid": gid,
        "env": environment,
        "command": [under(root, word) for word in image.command],
        "health": image.health,
        "url": f"http://127.0.0.1:{image.only('EXPOSE')}",
        "request": request,
        "hold": str(root / "hold"),
        "places": [f"{root}/a", "/tmp/a", "/dev/shm/a"],
    }
    command = ["unshare", "--mount", "--net", sys.executable, str(Path(__file__).parent / "inside_container.py")]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert 0 not in found["touched"]
    assert found["health"] == 0, found["log"]
    assert untimed(found["answer"]) == untimed(right(scorer, "Which?", RESPONSES))
    assert found["users"] == [[str(uid)] * 4, [str(gid)] * 4]
    assert (found["exit"], found["health_after"] != 0) == (0, True), found["log"]


@pytest.mark.thorough
@pytest.mark.slow
def test_the_wheel_holds_the_server_and_nothing_compiled(root_of_image):
    (wheel,) = (root_of_image / "wheels").iterdir()
    listed = subprocess.run([sys.executable, "-m", "zipfile", "-l", wheel], capture_output=True, text=True).stdout
    assert "yoj/serving/cli.py" in listed
    assert "__pycache__" not in listed
