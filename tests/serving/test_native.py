"""The C interface: the library is built, and real hosts in C, C++, Rust and Python score with it and misuse it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from blocks import blocks
from click.testing import CliRunner
from PIL import Image

from yoj.runtime import Request, decode_request, encode_judgement
from yoj.runtime.version import __version__
from yoj.serving.cli import main
from yoj.serving.native import _build
from yoj.serving.native._build import NativeError, build, find_compiler, find_python

pytestmark = [pytest.mark.export, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "c"
RESPONSES = ["A cat.", "Two dogs on a red sofa.", "Nothing."]
REQUEST = json.dumps({"prompt": "Which?", "responses": RESPONSES})
CODES = dict(re.findall(r"YOJ_ERROR_(\w+) = (\d+)", (Path(_build.__file__).with_name("yoj.h")).read_text("utf-8")))
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]


def compiler(name: str) -> str:
    """Command of a compiler, or a skip."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def ran(*words: object, **settings) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=200, **settings)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """The folder that ``yoj-serve native`` wrote."""
    pytest.importorskip("cffi", reason="cffi is not installed")
    try:
        find_python(), find_compiler()
    except NativeError as error:
        pytest.skip(str(error))
    out = tmp_path_factory.mktemp("native") / "lib yoj"  # with a blank, as users have it
    done = CliRunner().invoke(main, ["native", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert done.output.split("\n")[:-1] == [str(out / name) for name in ("libyoj.so", "yoj.h", "yoj.hpp", "libyoj.pc")]
    return out


@pytest.fixture(scope="module")
def example(library, tmp_path_factory):
    """example(target) -> the program that the examples' Makefile makes, in a folder whose path has no blank."""
    compiler("make")
    folder = tmp_path_factory.mktemp("examples") / "c"
    shutil.copytree(EXAMPLES, folder)
    (folder / "libyoj").symlink_to(library)

    def make(target: str) -> Path:
        compiler({"judge_cpp": "g++", "judge_rs": "rustc"}.get(target, "cc"))
        # What a make above this one has told its children is not for this one.
        own = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
        said = ran("make", target, cwd=folder, env=own)
        assert "warning" not in said.stderr, said.stderr
        return folder / target

    return make


@pytest.fixture(scope="module")
def driver(library, tmp_path_factory, bundle):
    """driver(command, *words) -> [code, kind, text] of each line that the host printed."""
    program = tmp_path_factory.mktemp("driver") / "driver"
    source = Path(__file__).with_name("native_driver.c")
    ran(compiler("gcc"), "-std=gnu11", *WARNINGS[:2], "-Werror", "-pthread", f"-I{library}", source, "-o", program)

    def run(command: str, *words: object, judge: object = None, **settings) -> list[list[str]]:
        judge = bundle("qwen3_vl", "assistant") if judge is None else judge
        done = ran(program, library / "libyoj.so", command, judge, *words, **settings)
        return [line.split("\t") for line in done.stdout.splitlines()]

    return run


@pytest.fixture
def picture() -> np.ndarray:
    side = np.arange(40)
    return np.stack([side[:, None] * 6 + side * 0, side[:, None] * 0 + side * 5, side[:, None] + side], -1).astype("u1")


def expected(scorer, *args) -> dict:
    return untimed(json.loads(json.dumps(encode_judgement(scorer("qwen3_vl").score_batch([Request(*args)])[0]))))


def untimed(fields: dict) -> dict:
    return {name: value for name, value in fields.items() if name != "timings_ms"}


def rows(text: str) -> list[tuple[float, float]]:
    """Score and probability of each line, which have nine digits, enough for a float32."""
    return [tuple(np.float32(word).item() for word in line.split()[:2]) for line in text.splitlines()]


def pairs(judgement: dict) -> list[tuple[float, float]]:
    values = zip(judgement["scores"], judgement["probabilities"], strict=True)
    return [(score, np.float32(chance).item()) for score, chance in values]


def test_the_request_of_the_documentation_gives_what_yoj_score_gives(example, bundle, tmp_path):
    shutil.copytree(bundle("qwen3_vl", "assistant"), tmp_path / "judge.yoj")
    data = ROOT / "tests" / "golden" / "data" / "images"
    shutil.copy(data / "landscape_shapes.png", tmp_path / "photo.jpg")
    (line,) = (block.text for block in blocks(ROOT / "docs" / "scoring.md") if block.kind == "json")
    (tmp_path / "request.json").write_text(line, "utf-8")
    fields = json.loads(line)
    judged = json.loads(ran(example("judge_c"), "judge.yoj", "request.json", cwd=tmp_path).stdout)
    words = ["--image", fields["image"], "--prompt", fields["prompt"]]
    words += [word for response in fields["responses"] for word in ("--response", response)]
    score = [sys.executable, "-m", "yoj.runtime", "judge.yoj"]
    direct = json.loads(ran(*score, *words, "--json", cwd=tmp_path).stdout)
    assert untimed(judged) == untimed(direct)
    ran(*score, "request.json", "--out", "scores.jsonl", cwd=tmp_path)
    of_the_file = json.loads((tmp_path / "scores.jsonl").read_text("utf-8"))
    about = {"line", "request", "run", "right"}
    assert {name: judged[name] for name in of_the_file.keys() - about} == {
        name: value for name, value in of_the_file.items() if name not in about
    }


def test_cpp_scores_a_picture_in_memory(example, bundle, scorer, picture, tmp_path):
    Image.fromarray(picture).save(tmp_path / "photo.ppm")
    program = example("judge_cpp")
    words = program, bundle("qwen3_vl", "assistant"), tmp_path / "photo.ppm", "Which?"
    said = ran(*words, *RESPONSES).stdout
    right = expected(scorer, "Which?", RESPONSES, [picture])
    assert rows(said) == pairs(right)
    assert [line.endswith("(best)") for line in said.splitlines()] == [k == right["best"] for k in range(3)]
    refused = subprocess.run([*map(str, (program, "missing.yoj", *words[2:])), "One."], capture_output=True, text=True)
    assert refused.returncode == 1
    assert re.fullmatch(r"bundle \(6\): \S*missing.yoj is not a bundle.*\n", refused.stderr)


def test_the_header_of_cpp_moves_and_frees(library, bundle, tmp_path):
    (tmp_path / "move.cpp").write_text(
        """#include <yoj.hpp>
        #include <iostream>
        int main(int, char **argv) {
            yoj::Options options;
            options.threads = 1;
            yoj::Scorer first(argv[1], options), second(std::move(first));
            std::cout << second.score(argv[2]) << '\\n';
            first = std::move(second);
            std::cout << first.score(argv[2]) << '\\n';
            try { second.score(argv[2]); } catch (const yoj::Error &error) { std::cout << error.kind() << '\\n'; }
            { const yoj::Scorer gone = std::move(first); }
            std::cout << yoj_free(1) << '\\n';
        }""",
        "utf-8",
    )
    link = [f"-I{library}", "-o", tmp_path / "move", f"-L{library}", "-lyoj", f"-Wl,-rpath,{library}"]
    ran(compiler("g++"), "-std=c++17", *WARNINGS, tmp_path / "move.cpp", *link)
    said = ran(tmp_path / "move", bundle("qwen3_vl", "assistant"), REQUEST).stdout.splitlines()
    assert untimed(json.loads(said[0])) == untimed(json.loads(said[1]))
    assert said[2:] == ["handle", CODES["HANDLE"]]


def test_rust_scores(example, bundle, scorer):
    said = ran(example("judge_rs"), bundle("qwen3_vl", "assistant"), "Which?", *RESPONSES).stdout
    assert rows(said) == pairs(expected(scorer, "Which?", RESPONSES))


def test_the_headers_compile_as_strict_c_and_pkg_config_links(library, tmp_path):
    compiler("pkg-config")
    (tmp_path / "a.c").write_text("#include <yoj.h>\n#include <stdio.h>\nint main(void) { puts(yoj_version()); }")
    (tmp_path / "libyoj").symlink_to(library)  # a shell cuts what pkg-config says at blanks
    environment = os.environ | {"PKG_CONFIG_PATH": str(tmp_path / "libyoj")}
    line = f"gcc -std=c99 {' '.join(WARNINGS)} a.c $(pkg-config --cflags --libs libyoj) -o a && ./a"
    assert ran(compiler("sh"), "-c", line, cwd=tmp_path, env=environment).stdout == f"{__version__}\n"


@pytest.mark.parametrize("padding", [0, 7])
def test_rows_may_have_a_stride(padding, driver, scorer, picture):
    height, width, _ = picture.shape
    padded = np.full((height, width * 3 + padding), 255, "u1")
    padded[:, : width * 3] = picture.reshape(height, -1)
    with open(os.memfd_create("pixels"), "w+b") as pixels:
        pixels.write(padded.tobytes())
        pixels.seek(0)
        found = driver("rgb", width, height, width * 3 + padding, "Which?", *RESPONSES, stdin=pixels)
    right = expected(scorer, "Which?", RESPONSES, [picture])
    assert found[0][:2] == ["0", "ok"]
    assert rows("\n".join(map(" ".join, found[1:4]))) == pairs(right)
    assert found[4] == [str(right["best"]), str(int(right["calibrated"])), str(len(right["notices"]))]


def named(found: list[list[str]]) -> list[tuple[str, str]]:
    """Kind and text of each line, whose code is that of its kind."""
    assert all(code == ("0" if kind == "ok" else CODES[kind.upper()]) for code, kind, _ in found)
    return [(kind, text) for _, kind, text in found]


@pytest.mark.parametrize(
    ("words", "kind", "says"),
    [
        (("missing.yoj", "", "", "", 0, 1), "bundle", "missing.yoj is not a bundle"),
        (("", "", "", "", 0, 1), "argument", "bundle is NULL"),
        ((b"\xff", "", "", "", 0, 1), "argument", "bundle is not UTF-8: byte 0 is 0xFF"),
        ((None, "cuda", "", "", 0, 1), "engine", "no engine 'cuda'"),
        ((None, "", "int3", "", 0, 1), "engine", "int3"),
        ((None, "", "", "missing", 0, 1), "argument", "options.media_root 'missing' is no folder"),
        ((None, "", "", "", -1, 1), "engine", "threads is -1"),
        ((None, "", "", "", 0, 2), "version", f"yoj.h has YOJ_ABI 2, libyoj {__version__} has 1"),
        ((None, "onnxruntime", "float32", ".", 1, 1), "ok", "loaded"),
    ],
)
def test_loading_says_what_is_wrong(words, kind, says, driver):
    judge, *rest = words
    ((found, text),) = named(driver("load", *rest, judge=os.fsdecode(judge) if isinstance(judge, bytes) else judge))
    assert (found, says in text) == (kind, True), text


def test_bad_requests_are_errors_with_the_codecs_texts_and_the_process_goes_on(driver, scorer, tmp_path):
    lines = [
        ("request", '{"prompt": "a"'),
        ("request", '{"prompt": "a", "responses": ["b"], "answer": 1}'),
        ("request", '{"prompt": "a", "responses": []}'),
        ("request", '{"prompt": "a\\ud800", "responses": ["b"]}'),
        ("limit", json.dumps({"prompt": "a", "responses": [str(k) for k in range(65)]})),
        ("length", json.dumps({"prompt": "word " * 20_000, "responses": ["b"]})),
        ("media", '{"prompt": "a", "responses": ["b"], "image": "/etc/passwd"}'),
        ("media", '{"prompt": "a", "responses": ["b"], "image": "http://127.0.0.1/a.png"}'),
        ("media", '{"prompt": "a", "responses": ["b"], "image": "data:image/png;base64,bm8gcGljdHVyZQ=="}'),
    ]
    (tmp_path / "lines").write_text("".join(f"{line}\n" for _, line in lines) + f"{REQUEST}\n", "utf-8")
    *failed, good = named(driver("lines", tmp_path / "lines"))
    assert [kind for kind, _ in failed] == [kind for kind, _ in lines]
    for (_, text), (_, line) in zip(failed, lines, strict=True):
        with pytest.raises(ValueError) as met:  # noqa: PT011  (the text is compared)
            scorer("qwen3_vl").score_batch([decode_request(line.encode())])
        assert text.split("\n")[0] == str(met.value).split("\n")[0]
    assert untimed(json.loads(good[1])) == expected(scorer, "Which?", RESPONSES)


def test_bad_typed_calls_are_errors_and_the_process_goes_on(driver):
    found = named(driver("typed"))
    texts = [
        "request is NULL",
        "result is NULL",
        "request.prompt is NULL",
        "request.responses is NULL",
        "request.responses[1] is NULL",
        "request.responses[0] is not UTF-8",
        "no responses",
        "request.images is NULL, and n_images is 1",
        "request.images[0].pixels is NULL",
        "request.images[0] is 0x2 pixels",
        "request.images[0] is 2x-1 pixels",
        "request.images[0].stride is 5 bytes",
        "request.images[0].stride is -6 bytes",
        "request.images[0].stride is 9223372036854775807 bytes",
        "result.scores is NULL",
        "There is no scorer 2",
    ]
    kinds = ["argument"] * 6 + ["request"] + ["argument"] * 8 + ["handle", "ok"]
    assert [kind for kind, _ in found] == kinds
    assert [part for part, (_, text) in zip(texts, found, strict=False) if part not in text] == []


def test_numbers_that_are_none_and_missing_places_are_errors(driver):
    *found, last = driver("numbers", REQUEST)
    assert [(kind, text[:24]) for kind, text in named(found) if kind != "ok"] == [
        ("handle", "There is no scorer 0: it"),
        ("handle", "There is no scorer 1: it"),
        ("handle", "There is no scorer 1: it"),
        ("handle", "There is no scorer 12345"),
        ("argument", "request is NULL; give a "),
        ("argument", "judgement is NULL; give "),
        ("argument", "scorer is NULL; give the"),
    ]
    assert [kind for _, kind, _ in found].count("ok") == 3
    assert last == ["unknown", "unknown", __version__]


@pytest.mark.parametrize(("command", "words"), [("threads", (8, 5)), ("first", ())])
def test_eight_threads_get_the_same_scores_in_a_process_that_is_new_too(command, words, driver, scorer):
    found = named(driver(command, REQUEST, *words))
    assert len(found) == 8 * (words[1] if words else 1)
    right = expected(scorer, "Which?", RESPONSES)
    assert all(kind == "ok" and untimed(json.loads(text)) == right for kind, text in found)


def test_a_scorer_that_is_freed_meanwhile_gives_scores_or_an_error(driver, scorer):
    found = named(driver("freed", REQUEST, 8, 100_000))
    right = expected(scorer, "Which?", RESPONSES)["scores"]
    assert [kind for kind, _ in found].count("handle") == 8
    assert all(json.loads(text)["scores"] == right for kind, text in found if kind != "handle")


def test_a_fork_is_an_error_in_the_child_alone(driver):
    (child, text), (parent, _) = named(driver("fork", REQUEST))
    assert (child, parent) == ("forked", "ok")
    assert "was forked" in text


def test_closing_the_library_does_no_harm(driver):
    ((kind, _),) = named(driver("reopen", REQUEST))
    assert kind == "ok"


@pytest.mark.parametrize(
    ("what", "rounds", "judge"),
    [("threads", 3000, "/" + "missing/" * 300), ("bundles", 10, None)],
    ids=["threads", "bundles"],
)
def test_threads_and_bundles_that_go_leave_nothing(what, rounds, judge, driver):
    ((grown,),) = driver("kept", what, rounds, judge=judge)
    assert int(grown) < 4096  # KiB; the errors of the threads are 7 MB, the weights and graphs of the bundles more


def cost(example, judge: Path, request: object, calls: int, threads: int) -> dict[str, float]:
    words = ran(example("cost"), judge, request, calls, threads).stdout.split()
    return dict(zip(words[::2], map(float, words[1::2]), strict=True))


def test_memory_is_flat_over_a_hundred_thousand_calls_that_fail(example, bundle):
    assert cost(example, bundle("qwen3_vl", "assistant"), "-", 100_000, 1)["rss_grown_kib"] < 1024


def test_judgements_that_were_freed_leave_nothing(example, bundle, tmp_path):
    large = json.loads(REQUEST) | {"metadata": "x" * 100_000}
    (tmp_path / "request.json").write_text(json.dumps(large), "utf-8")
    found = cost(example, bundle("qwen3_vl", "assistant"), tmp_path / "request.json", 400, 2)
    assert found["rss_grown_kib"] < 8192  # a fifth of what the judgements' texts are


@pytest.mark.thorough
@pytest.mark.timeout(3600)
def test_memory_is_flat_over_a_hundred_thousand_scores(example, bundle, tmp_path):
    (tmp_path / "request.json").write_text(REQUEST, "utf-8")
    program, judge = example("cost"), bundle("qwen3_vl", "assistant")
    words = [*map(str, (program, judge, tmp_path / "request.json", 100_000, 8))]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    # A judgement in JSON has a kilobyte: if one in ten stayed, this would be exceeded.
    assert int(said.split()[-1]) < 8192, said


def environment_of(folder: Path, *, with_yoj: bool) -> Path:
    """Interpreter of a new virtual environment; its packages are those of this process or none."""
    ran(sys.executable, "-m", "venv", "--without-pip", folder)
    packages = folder / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    if with_yoj:
        (packages / "here.pth").write_text("\n".join(path for path in sys.path if path), "utf-8")
    return folder / "bin" / "python"


@pytest.mark.parametrize("with_yoj", [True, False])
def test_another_environment_is_taken(with_yoj, driver, tmp_path):
    python = environment_of(tmp_path / "own", with_yoj=with_yoj)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    found = driver("load", "", "", "", 0, 1, env=environment | {"YOJ_PYTHON": str(python)})
    ((kind, text),) = named(found)
    assert (kind, text[: len(f"{python} has no cffi")]) == (
        ("ok", "loaded") if with_yoj else ("python", f"{python} has no cffi")
    )


def test_an_environment_with_another_version_or_none_is_an_error(driver, tmp_path):
    ((kind, text),) = named(driver("load", "", "", "", 0, 1, env=os.environ | {"YOJ_PYTHON": "/missing/python"}))
    assert (kind, text[:37]) == ("python", "There is no Python at /missing/python")
    older = tmp_path / "sitecustomize.py"
    older.write_text("import yoj.runtime.version as version\nversion.__version__ = '0.0.1'\n", "utf-8")
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    ((kind, text),) = named(driver("load", "", "", "", 0, 1, env=os.environ | {"PYTHONPATH": path}))
    assert kind == "version"
    assert f"was built with yoj {__version__}, and Python has yoj 0.0.1" in text
    older.write_text("import sys\nsys.modules['msgspec'] = None\n", "utf-8")
    ((kind, text),) = named(driver("load", "", "", "", 0, 1, env=os.environ | {"PYTHONPATH": path}))
    assert (kind, "has no yoj that works: ModuleNotFoundError" in text) == ("python", True)


def test_a_host_that_is_python_shares_its_interpreter(library, bundle, scorer):
    code = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
number, text = ctypes.c_uint64(), ctypes.c_char_p()
library.yoj_free.argtypes = [ctypes.c_uint64]
library.yoj_score.argtypes = [ctypes.c_uint64, ctypes.c_char_p, ctypes.c_void_p]
assert library.yoj_load(1, sys.argv[2].encode(), None, ctypes.byref(number)) == 0
assert library.yoj_score(number, sys.argv[3].encode(), ctypes.byref(text)) == 0
print(text.value.decode())
assert library.yoj_free(number) == 0
"""
    words = library / "libyoj.so", bundle("qwen3_vl", "assistant"), REQUEST
    found = json.loads(ran(sys.executable, "-c", code, *words).stdout)
    assert untimed(found) == expected(scorer, "Which?", RESPONSES)


def test_the_host_keeps_its_locale_and_signals(library, bundle, tmp_path):
    (tmp_path / "a.c").write_text(
        """#include <yoj.h>
        #include <locale.h>
        #include <signal.h>
        #include <stdio.h>
        int main(int argc, char **argv) {
            struct sigaction before, after, pipe;
            sigaction(SIGINT, NULL, &before);
            yoj_scorer scorer;
            int code = yoj_load(YOJ_ABI, argv[argc - 1], NULL, &scorer);
            sigaction(SIGINT, NULL, &after);
            sigaction(SIGPIPE, NULL, &pipe);
            printf("%d %s %d %d", code, setlocale(LC_ALL, NULL), before.sa_handler == after.sa_handler,
                   pipe.sa_handler == SIG_DFL);
        }""",
        "utf-8",
    )
    link = [f"-I{library}", "-o", tmp_path / "a", f"-L{library}", "-lyoj", f"-Wl,-rpath,{library}"]
    ran(compiler("gcc"), "-std=gnu11", tmp_path / "a.c", *link)
    environment = os.environ | {"LC_ALL": "C.UTF-8"}
    assert ran(tmp_path / "a", bundle("qwen3_vl", "assistant"), env=environment).stdout == "0 C 1 1"


def test_what_is_missing_for_the_build_is_named(monkeypatch, tmp_path):
    pytest.importorskip("cffi", reason="cffi is not installed")

    def says(words: str) -> None:
        done = CliRunner().invoke(main, ["native", "--out", str(tmp_path / "out")])
        assert done.exit_code == 1
        assert words in done.output
        assert not (tmp_path / "out" / "libyoj.so").exists()

    config = sysconfig.get_config_var
    with monkeypatch.context() as patch:
        patch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
        says(f"There is no Python.h in {tmp_path}. Install Python's headers")
    with monkeypatch.context() as patch:
        patch.setattr(sysconfig, "get_config_var", lambda name: 0 if name == "Py_ENABLE_SHARED" else config(name))
        says("has no shared libpython")
    try:
        find_python()
    except NativeError as error:
        pytest.skip(str(error))
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        says("There is no C compiler (cc, gcc, clang)")
    with monkeypatch.context() as patch:
        patch.setenv("CC", "missing-cc -O3")
        says("CC is 'missing-cc', which is no command here")
        patch.setenv("CC", f"{sys.executable} -c raise(SystemExit(3))")
        says("The C compiler failed with status 3")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "cffi", None)
        says("cffi is missing")


def test_a_library_that_is_in_use_is_replaced_and_not_written_into(library):
    before = (library / "libyoj.so").stat().st_ino
    with (library / "libyoj.so").open("rb") as held:
        build(library)
        assert (library / "libyoj.so").stat().st_ino != before
        assert os.fstat(held.fileno()).st_nlink == 0
    assert sorted(path.name for path in library.iterdir()) == ["libyoj.pc", "libyoj.so", "yoj.h", "yoj.hpp"]
