"""Plans that do not fit are refused before they are deserialised, with what differs and how to build them again."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from yoj.runtime import Scorer
from yoj.runtime import manifest as m
from yoj.runtime.bundle import Bundle
from yoj.runtime.engines import ENGINES, device, library
from yoj.runtime.engines.select import check_loadable, fits, select
from yoj.runtime.errors import EngineError, EngineMemoryError

AMPERE = (8, 6)
VERSION = "1.7.1.116"


def plans(**changes) -> m.Plans:
    values = {"library": "tensorrt_rtx", "version": VERSION, "target": "sm86", "flags": (), "onnx": {}, "profiles": {}}
    return m.Plans(**values | changes)


@pytest.fixture
def original(bundle) -> Bundle:
    return Bundle.open(bundle("merged", "assistant"))


def entry(original: Bundle, engine: str = "tensorrt-rtx", **changes) -> m.EngineEntry:
    return msgspec.structs.replace(original.engine(), engine=engine, plans=plans(**changes))


def refusal(original: Bundle, held: m.EngineEntry, version: str = VERSION, capability=AMPERE) -> str:
    with pytest.raises(EngineError) as caught:
        check_loadable(original, held, version, capability)
    text = str(caught.value)
    assert f"yoj-export compile {original.path} --engine {held.engine}" in text
    return text


def test_plans_that_fit_are_loaded(original):
    graphs = {name: file.sha256 for name, file in original.manifest.files.items() if name.startswith("onnx/")}
    held = entry(original, onnx=graphs)
    assert check_loadable(original, held, VERSION, AMPERE) == held.plans


@pytest.mark.parametrize("installed", ["1.7.2.10", "1.7.0.1", "1.8.0.0", "2.0.0.0"])
def test_rtx_plans_of_another_release_are_refused(installed, original):
    text = refusal(original, entry(original), installed)
    assert VERSION in text
    assert f"{installed} is installed" in text
    assert "--target sm86" in text


@pytest.mark.parametrize(
    ("flags", "built", "installed", "loads"),
    [
        ((), "11.1.0.106", "11.1.0.106", True),
        ((), "11.1.0.106", "11.4.0.106", False),
        (("VERSION_COMPATIBLE",), "11.1.0.106", "11.4.0.106", True),
        (("VERSION_COMPATIBLE",), "11.4.0.106", "11.4.1.9", True),
        (("VERSION_COMPATIBLE",), "11.4.0.106", "11.1.0.106", False),
        (("VERSION_COMPATIBLE",), "11.4.0.106", "12.0.0.1", False),
    ],
)
def test_version_compatible_plans_load_in_later_releases_of_the_same_major_version(
    flags, built, installed, loads, original
):
    held = entry(original, "tensorrt", library="tensorrt", version=built, flags=flags)
    if loads:
        check_loadable(original, held, installed, AMPERE)
    else:
        text = refusal(original, held, installed)
        assert all(flag.lower().replace("_", "-") in text for flag in flags)
        assert "--target" not in text


def test_plans_for_another_gpu_are_refused_and_both_are_named(original):
    text = refusal(original, entry(original), capability=(12, 0))
    assert "built for sm86, this GPU is sm120" in text
    assert "--target sm120" in text


def test_plans_of_another_graph_are_refused(original):
    name = "onnx/scorer.joint.onnx"
    assert f"built from another {name}" in refusal(original, entry(original, onnx={name: "0" * 64}))


def test_all_mismatches_are_named_at_once(original):
    text = refusal(original, entry(original, onnx={"onnx/weights.data": "0"}), "1.8.0.0", (8, 9))
    assert all(word in text for word in ("1.8.0.0", "sm89", "onnx/weights.data"))


def test_an_entry_that_does_not_say_what_it_was_built_with_is_refused(original):
    refusal(original, msgspec.structs.replace(original.engine(), engine="tensorrt"))


def test_the_command_repeats_the_options_of_the_build(original):
    flags = ("REFIT", "WEIGHT_STREAMING")
    text = refusal(original, entry(original, "tensorrt", flags=flags, target="sm80+"), "11.0.0.0", (7, 5))
    assert "--refit --weight-streaming --hardware-compatible" in text


def test_a_target_is_one_gpu_or_all_from_ampere_on():
    assert fits("sm86", (8, 6))
    assert not fits("sm86", (8, 9))
    assert all(fits("sm80+", gpu) for gpu in ((8, 0), (9, 0), (12, 0)))
    assert not fits("sm80+", (7, 5))


# What is missing on a machine


def sealed(original: Bundle, tmp_path, *added: m.EngineEntry) -> str:
    """A bundle whose manifest lists plans; no file of theirs is ever opened here."""
    for name in original.manifest.files:
        (tmp_path / "b" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "b" / name).symlink_to(original.path / name)
    manifest = msgspec.structs.replace(original.manifest, engines=(*original.manifest.engines, *added))
    (tmp_path / "b" / m.MANIFEST_NAME).write_bytes(m.encode(m.seal(manifest)))
    return str(tmp_path / "b")


def no_gpu() -> bool:
    try:
        device.compute_capability(device.load_cuda())
    except EngineError:
        return True
    return False


needs_no_gpu = pytest.mark.skipif(not no_gpu(), reason="this machine has a GPU")


@needs_no_gpu
@pytest.mark.parametrize("targets", [("sm86",), ("sm86", "sm120")])
def test_without_a_gpu_the_plans_are_refused_and_onnx_runtime_still_scores(targets, original, tmp_path):
    pytest.importorskip("tensorrt_rtx_bindings", reason="pip install 'yoj[trt-rtx]'")
    path = sealed(original, tmp_path, *(entry(original, target=target) for target in targets))
    with pytest.raises(EngineError, match="Use the engine onnxruntime"):
        Scorer.load(path, engine="tensorrt-rtx")
    assert len(Scorer.load(path).score("Which?", ["one", "two"]).scores) == 2


def test_a_missing_library_is_named_with_its_extra(original, tmp_path):
    """In a fresh interpreter in which the libraries cannot be found."""
    path = sealed(original, tmp_path, entry(original), entry(original, "tensorrt"))
    code = (
        "import sys; from yoj.runtime import EngineError, Scorer\n"
        "sys.modules.update(dict.fromkeys(f'tensorrt{x}' for x in ('', '_bindings', '_rtx', '_rtx_bindings')))\n"
        "for engine in ('tensorrt', 'tensorrt-rtx'):\n"
        "    try: Scorer.load(sys.argv[1], engine=engine)\n"
        "    except EngineError as error: print(error)\n"
        "print(Scorer.load(sys.argv[1]).score('Which?', ['one', 'two']).best)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "yoj[trt]" in done.stdout
    assert "yoj[trt-rtx]" in done.stdout
    assert done.stdout.splitlines()[-1] in ("0", "1")


def test_a_version_that_yoj_does_not_know_is_refused():
    for engine, version in (("tensorrt", "10.14.1.48"), ("tensorrt", "12.0.0.1"), ("tensorrt-rtx", "1.8.0.5")):
        with pytest.raises(EngineError, match=version.replace(".", r"\.")) as caught:
            library._check_known(ENGINES[engine].library, version)
        assert "pip install" in str(caught.value)


class Driver:
    """A driver that answers as told; the statuses and their names are those of CUDA."""

    def __init__(self, **answers):
        self._real, self._answers = device.load_cuda(), answers

    def __getattr__(self, name):
        return (lambda *_: self._answers[name]) if name in self._answers else getattr(self._real, name)


def test_a_driver_that_is_missing_too_old_or_without_a_gpu_is_told_apart():
    cudart = pytest.importorskip("cuda.bindings.runtime", reason="pip install 'yoj[trt-rtx]'")
    ok, none = cudart.cudaError_t.cudaSuccess, cudart.cudaError_t.cudaErrorNoDevice
    for answers, word in (
        ({"cudaDriverGetVersion": (ok, 0)}, "no NVIDIA driver"),
        ({"cudaDriverGetVersion": (ok, 12040)}, "up to 12.4, the engine needs 13.0"),
        ({"cudaDriverGetVersion": (ok, 13010), "cudaGetDeviceCount": (none, None)}, "sees no GPU"),
        ({"cudaDriverGetVersion": (ok, 13010), "cudaGetDeviceCount": (ok, 0)}, "sees no GPU"),
    ):
        with pytest.raises(EngineError, match="onnxruntime") as caught:
            device.compute_capability(Driver(**answers))
        assert word in str(caught.value)


def test_memory_that_is_full_is_an_error_of_its_own():
    cudart = pytest.importorskip("cuda.bindings.runtime", reason="pip install 'yoj[trt-rtx]'")
    with pytest.raises(EngineMemoryError, match="hold 4,096 bytes for scores") as caught:
        device.check(cudart, (cudart.cudaError_t.cudaErrorMemoryAllocation, None), "hold 4,096 bytes for scores")
    assert "--profile" in str(caught.value)
    with pytest.raises(EngineError, match="cudaErrorLaunchFailure"):
        device.check(cudart, (cudart.cudaError_t.cudaErrorLaunchFailure,), "run scorer.joint")
    assert device.check(cudart, (cudart.cudaError_t.cudaSuccess, 7), "count") == 7


# Closing


def test_a_closed_scorer_refuses_to_score_and_may_be_closed_again(original):
    with Scorer.load(original.path) as loaded:
        assert len(loaded.score("Which?", ["one", "two"]).scores) == 2
    loaded.close()
    with pytest.raises(EngineError, match=r"Load it again with Scorer\.load"):
        loaded.score("Which?", ["one", "two"])


def test_the_first_engine_of_a_name_is_taken_where_nothing_depends_on_the_gpu(original):
    assert select(original, None, None) == original.engine()
    assert select(original, "onnxruntime", "float32") == original.engine()
