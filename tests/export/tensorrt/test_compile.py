"""Plans are built without a GPU, by TensorRT-RTX for GPUs that are elsewhere; the bundle is whole at every moment."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import onnx
import pytest
from quiet import Quiet
from random_checkpoint import Sizes, write_checkpoint
from safetensors.torch import load_file, save_file
from tiers import with_variants
from tiny import RECORDED

from yoj.bench._large_checkpoint import write as write_large
from yoj.export._errors import OutputError
from yoj.export.bundle._build import build
from yoj.export.bundle._config import ExportConfig
from yoj.export.tensorrt import _builder as plans
from yoj.export.tensorrt._builder import BuilderSettings, Job, build_plan
from yoj.export.tensorrt._compile import CompileJob, compile_bundle
from yoj.export.tensorrt._profiles import parse_profile
from yoj.export.tensorrt.graphs import for_tensorrt
from yoj.runtime import Scorer
from yoj.runtime import manifest as m
from yoj.runtime.bundle import Bundle
from yoj.runtime.engines.library import make_logger
from yoj.runtime.engines.select import check_loadable
from yoj.runtime.errors import EngineError

pytestmark = pytest.mark.export

trt = pytest.importorskip("tensorrt_rtx_bindings", reason="plans are built for real: pip install 'yoj[trt-rtx]'")

JUDGES = Path(__file__).parents[3] / "checkpoints"
SMALL = [parse_profile("B=1:1:2,L=16:64:256,N=2:4:8,V=1:16:64,C=1:2:8,F=1:1:4,P=16:16:64")]


@pytest.fixture
def copy(bundle, tmp_path) -> Path:
    return shutil.copytree(bundle("merged", "assistant"), tmp_path / "judge.yoj")


def shorten(judge: Path, folder: Path, layers: int) -> Path:
    """A judge without the later layers of its trunk, which repeat the shapes of the others."""
    shutil.copytree(judge, folder)
    config = json.loads((folder / "base" / "config.json").read_text("utf-8"))
    config["text_config"]["num_hidden_layers"] = layers
    (folder / "base" / "config.json").write_text(json.dumps(config), "utf-8")
    for file in (folder / "adapter_model.safetensors", folder / "base" / "model.safetensors"):
        number = re.compile(r"(?:transformer\.blocks|language_model\.layers)\.(\d+)\.")
        kept = {name: t for name, t in load_file(file).items() if not (m := number.search(name)) or int(m[1]) < layers}
        save_file(kept, file)
    return folder


def order(path: Path, **changes) -> CompileJob:
    return CompileJob(path, **{"engine": "tensorrt-rtx", "targets": ["sm86"], "profiles": SMALL} | changes)


def content(path: Path) -> dict[str, bytes]:
    return {f.relative_to(path).as_posix(): f.read_bytes() for f in path.rglob("*") if f.is_file()}


def untouched(path: Path, before: dict[str, bytes]) -> None:
    """The bundle is as it was, its own engine scores, and nothing is left beside it."""
    assert content(path) == before
    assert len(Scorer.load(path).score("Which?", ["one", "two"]).scores) == 2
    assert [file.name for file in path.parent.iterdir()] == [path.name]


# What is built


@pytest.mark.parametrize("family", ["molmo2", "qwen3_vl"])
def test_default_plans_of_both_families_for_three_gpus_are_listed_with_all_that_they_are(family, bundle, tmp_path):
    kind = "merged" if family == "molmo2" else family
    path = shutil.copytree(bundle(kind, "assistant"), tmp_path / "judge.yoj")
    before = Bundle.open(path).manifest
    targets = ["sm86", "sm89", "sm120"] if family == "molmo2" else ["sm120"]
    built = compile_bundle(order(path, targets=targets, profiles=()), Quiet())
    manifest = Bundle.open(path).manifest
    assert manifest.engines == (*before.engines, *built)
    assert manifest.files.keys() == {name for name in content(path) if name != m.MANIFEST_NAME}
    source = before.engines[0]
    for entry, target in zip(built, targets, strict=True):
        assert entry.plans is not None
        assert (entry.engine, entry.precision) == ("tensorrt-rtx", "float32")
        assert (entry.plans.library, entry.plans.version) == ("tensorrt_rtx", trt.__version__)
        assert (entry.plans.target, entry.plans.driver, entry.plans.flags) == (target, None, ())
        assert entry.plans.onnx == {n: f.sha256 for n, f in before.files.items() if n.startswith("onnx/")}
        assert entry.graphs.keys() == entry.plans.profiles.keys() == source.graphs.keys()
        for role, graph in entry.graphs.items():
            assert (graph.inputs, graph.outputs) == (source.graphs[role].inputs, source.graphs[role].outputs)
            assert graph.file.startswith(f"engines/tensorrt-rtx-float32-{target}/{role}.")
            assert (path / graph.file).stat().st_size > 100_000
            letters = {axis for spec in graph.inputs for axis in spec.shape if isinstance(axis, str)}
            assert all(profile.keys() == letters for profile in entry.plans.profiles[role])
    assert len(Scorer.load(path).score("Which?", ["one", "two"]).scores) == 2


@pytest.mark.parametrize(
    ("family", "precision"),
    with_variants(
        [
            ("tiny", "float16"),
            ("molmo2", "float16"),
            ("qwen3_vl", "bfloat16"),
            ("molmo2", "bfloat16"),
            ("qwen3_vl", "float16"),
        ]
    ),
)
def test_plans_of_the_small_judges_in_16_bits(family, precision, tmp_path):
    """With the default profiles, and of the trunk as many layers as differ; the build refuses graphs that have other
    inputs and outputs than the manifest."""
    out = tmp_path / "judge.yoj"
    if family == "tiny":
        judge = write_checkpoint(Sizes(), RECORDED, tmp_path / "checkpoint")
    else:
        judge = shorten(JUDGES / f"shapes-{family}", tmp_path / "checkpoint", 3)
    build(ExportConfig([judge], None, "assistant", out, precision=precision, compare=False), Quiet())
    (entry,) = compile_bundle(order(out, targets=["sm89"], profiles=()), Quiet())
    assert (entry.engine, entry.precision) == ("tensorrt-rtx", precision)
    assert entry.plans is not None
    for role, graph in entry.graphs.items():
        assert {spec.dtype for spec in (*graph.inputs, *graph.outputs)} <= {"float32", "int64"}
        assert graph.file.startswith(f"engines/tensorrt-rtx-{precision}-sm89/{role}.")
    assert {profile["N"].max for profile in entry.plans.profiles["scorer.joint"]} == {64}
    assert Bundle.open(out).engine("tensorrt-rtx") == entry


@pytest.mark.thorough
@pytest.mark.parametrize(("family", "precision"), [("molmo2", "float16"), ("qwen3_vl", "bfloat16")])
def test_plans_of_two_layers_in_the_dimensions_of_the_4b_models(family, precision):
    """Kernels and scratch memory are chosen by these dimensions; more layers repeat them, more words none."""
    with tempfile.TemporaryDirectory() as folder:  # of a gigabyte, which pytest would keep
        checkpoint = write_large(JUDGES / f"shapes-{family}", Path(folder) / "checkpoint", layers=2, words=1024)
        out = Path(folder) / "judge.yoj"
        manifest, _ = build(
            ExportConfig([checkpoint], None, "assistant", out, precision=precision, compare=False), Quiet()
        )
        assert (manifest.hidden_size, manifest.attention_heads) == (2560, 32)
        (entry,) = compile_bundle(order(out, targets=["sm89"], profiles=()), Quiet())
        assert entry.plans is not None
        source = manifest.engines[0]
        for role, graph in entry.graphs.items():
            assert (graph.inputs, graph.outputs) == (source.graphs[role].inputs, source.graphs[role].outputs)
        for role in ("scorer.joint", "scorer.segmented"):
            assert [profile["L"].max for profile in entry.plans.profiles[role]] == [8192, 512]
            layer = 2560 * (4096 + 2 * 1024 + 4096 + 3 * 9728)
            assert (out / entry.graphs[role].file).stat().st_size > 2 * layer * 2  # 16-bit weights


def test_plans_for_the_same_target_replace_the_older_ones(copy):
    compile_bundle(order(copy), Quiet())
    first = content(copy)
    compile_bundle(order(copy, targets=["sm89"]), Quiet())
    (second,) = compile_bundle(order(copy, profiles=[parse_profile("L=16:32:64")]), Quiet())
    manifest = Bundle.open(copy).manifest
    assert [e.plans.target for e in manifest.engines if e.plans] == ["sm89", "sm86"]
    assert manifest.engines[-1] == second
    assert manifest.files.keys() == content(copy).keys() - {m.MANIFEST_NAME}
    assert not {name for name in first if "sm86/scorer" in name} & content(copy).keys()


@pytest.mark.parametrize(
    ("dtype", "name"), [(onnx.TensorProto.FLOAT, "float32"), (onnx.TensorProto.FLOAT16, "float16")]
)
def test_attention_may_be_taken_apart_in_float32_only(dtype, name, tmp_path):
    """One Attention node of the size that the fused kernels have, as the parser gives it."""
    shape = ("B", 4, "L", 64)
    values = [onnx.helper.make_tensor_value_info(n, dtype, shape) for n in "qkvy"]
    node = onnx.helper.make_node("Attention", ["q", "k", "v"], ["y"], is_causal=1)
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "x", values[:3], values[3:]), opset_imports=[onnx.helper.make_opsetid("", 23)]
    )
    onnx.save(model, tmp_path / "x.onnx")
    specs = [m.TensorSpec(name=n, dtype=name, shape=shape) for n in "qkvy"]
    graph = m.Graph(file="x.onnx", inputs=tuple(specs[:3]), outputs=tuple(specs[3:]))
    job = Job(
        tmp_path / "x.onnx", graph, [parse_profile("B=1:1:2,L=16:64:256")], "sm86", tmp_path / "p", tmp_path / "c"
    )
    network = parsed(job)
    plans._allow_plain_attention(trt, network)
    assert [layer.attention.decomposable for layer in attentions(network)] == [dtype == onnx.TensorProto.FLOAT]
    build_plan(trt, job, BuilderSettings(), lambda _: None)
    assert job.out.stat().st_size > 1000


def parsed(job: Job):
    logger = make_logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse_from_file(str(job.onnx))
    keep.append((logger, builder, parser))
    return network


keep = []


def attentions(network):
    for layer in map(network.get_layer, range(network.num_layers)):
        if layer.type == trt.LayerType.ATTENTION_INPUT:
            layer.__class__ = trt.IAttentionInputLayer
            yield layer


def test_networks_are_strongly_typed(copy, tmp_path):
    graph = Bundle.open(copy).engine("onnxruntime").graphs["vision"]
    network = parsed(Job(copy / graph.file, graph, SMALL, "sm86", tmp_path / "p", tmp_path / "c"))
    assert network.get_flag(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def test_a_build_says_where_it_is_and_takes_the_options_that_need_no_gpu(copy, tmp_path):
    graph, said = Bundle.open(copy).engine("onnxruntime").graphs["scorer.joint"], []
    with for_tensorrt(copy / graph.file) as file:
        job = Job(file, graph, SMALL, "sm86", tmp_path / "p", tmp_path / "c")
        build_plan(trt, job, BuilderSettings(weight_streaming=True), said.append)
    assert any("steps" in note for note in said)
    assert job.out.stat().st_size > 100_000
    assert not job.timing_cache.exists()


# What is refused


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"targets": ["sm90"]}, ["sm90", "sm86", "--engine tensorrt"]),
        ({"targets": ["sm86", "ampere"]}, ["ampere"]),
        ({"targets": []}, ["--target sm"]),
        ({"hardware_compatible": True}, ["--hardware-compatible", "--target"]),
        ({"settings": BuilderSettings(version_compatible=True)}, ["--version-compatible"]),
        ({"settings": BuilderSettings(workspace=2**10)}, ["profiles: ", "vision.onnx", "sm86"]),
        ({"settings": BuilderSettings(refit=True)}, ["--refit needs a GPU"]),
        ({"targets": ["sm75"]}, ["sm75", "sm86"]),
        ({"profiles": [parse_profile("N=100:200:300")]}, ["begins beyond", "N up to 64"]),
        ({"engine": "tensorrt"}, ["tensorrt", "yoj[trt]"]),
    ],
)
def test_what_cannot_be_built_is_refused_with_a_reason_and_the_bundle_stays(changes, words, copy):
    if "engine" in changes and any(map(_installed, ("tensorrt", "tensorrt_bindings"))):
        pytest.skip("TensorRT is installed here")
    before = content(copy)
    with pytest.raises(EngineError) as caught:
        compile_bundle(order(copy, **changes), Quiet())
    assert all(word in str(caught.value) for word in words), str(caught.value)
    untouched(copy, before)


def _installed(module: str) -> bool:
    try:
        __import__(module)
    except ImportError:
        return False
    return True


def test_a_graph_that_is_not_what_the_manifest_says_is_refused_before_its_build(copy, tmp_path):
    graph = Bundle.open(copy).engine("onnxruntime").graphs["scorer.joint"]
    (first, *rest), (scores, *others) = graph.inputs, graph.outputs
    for changed, word in (
        (msgspec.structs.replace(graph, inputs=(msgspec.structs.replace(first, dtype="int32"), *rest)), first.name),
        (msgspec.structs.replace(graph, inputs=tuple(rest)), first.name),
        (
            msgspec.structs.replace(graph, outputs=(msgspec.structs.replace(scores, shape=("B", "N", 3)), *others)),
            "scores",
        ),
    ):
        with for_tensorrt(copy / graph.file) as file:
            job = Job(file, changed, SMALL, "sm86", tmp_path / "x.plan", tmp_path / "c")
            with pytest.raises(EngineError, match="the manifest") as caught:
                build_plan(trt, job, BuilderSettings(), lambda _: None)
        assert word in str(caught.value)
        assert not (tmp_path / "x.plan").exists()


def test_a_file_that_is_no_graph_is_refused_with_what_the_parser_says(copy, tmp_path):
    graph = Bundle.open(copy).engine("onnxruntime").graphs["vision"]
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    job = Job(tmp_path / "broken.onnx", graph, SMALL, "sm86", tmp_path / "x.plan", tmp_path / "c")
    with pytest.raises(EngineError, match=r"cannot read broken\.onnx"):
        build_plan(trt, job, BuilderSettings(), lambda _: None)


# What goes wrong on the way


def test_a_disk_that_is_too_small_is_noticed_before_anything_is_built(copy, monkeypatch):
    before = content(copy)
    usage = shutil.disk_usage(copy)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(OutputError, match="GB free; the plans need about"):
        compile_bundle(order(copy), Quiet())
    monkeypatch.undo()
    untouched(copy, before)


@pytest.mark.thorough
def test_a_disk_that_fills_up_during_the_build_leaves_the_bundle_as_it_was(copy):
    """A limit on the size of files stands for the disk: the write fails half-way, in the library's own call."""
    code = (
        "import resource, signal, sys; from pathlib import Path; import test_compile as t;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000));"
        "t.compile_bundle(t.order(Path(sys.argv[1])), t.Quiet())"
    )
    before = content(copy)
    done = in_process(code, copy)
    assert done.returncode == 1
    assert "OutputError" in done.stderr
    assert "cannot be written" in done.stderr
    untouched(copy, before)


@pytest.mark.parametrize("number", with_variants([signal.SIGKILL, signal.SIGINT, signal.SIGTERM]))
def test_a_build_that_is_killed_leaves_the_bundle_as_it_was(number, copy):
    before = content(copy)
    code = (
        "import signal, sys; from pathlib import Path; import test_compile as t;"
        "signal.signal(signal.SIGTERM, lambda number, _: sys.exit(143));"
        "t.compile_bundle(t.order(Path(sys.argv[1])), t.Quiet())"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(copy)], env=environment(), stderr=subprocess.PIPE)
    begin = time.monotonic()
    while not list(copy.parent.glob(".judge.yoj.*/engines/*/*.plan")):
        assert time.monotonic() - begin < 60
        assert child.poll() is None
        time.sleep(0.005)
    child.send_signal(number)
    child.communicate(timeout=60)
    assert child.returncode != 0
    if number == signal.SIGKILL:
        for left in copy.parent.glob(".judge.yoj.*"):
            shutil.rmtree(left)
    untouched(copy, before)


@pytest.mark.parametrize("place", with_variants(["manifest", "first"]))
def test_a_move_that_fails_is_taken_back(place, copy, monkeypatch):
    compile_bundle(order(copy, targets=["sm89"]), Quiet())
    before = content(copy)
    replace = os.replace

    def failing(source, target):
        if place == "first" or Path(target).name == m.MANIFEST_NAME:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OutputError, match="No space left"):
        compile_bundle(order(copy, targets=["sm89"], profiles=[parse_profile("L=16:32:64")]), Quiet())
    monkeypatch.undo()
    untouched(copy, before)


def test_what_a_killed_run_left_is_named_by_the_next(copy):
    left = copy.parent / ".judge.yoj.1.tmp"
    left.mkdir()
    assert any(str(left) in note for note in notes_of(order(copy)))
    assert left.is_dir()


def test_the_profiles_that_are_built_are_printed_and_letters_that_no_graph_has(copy):
    said = notes_of(order(copy, profiles=[parse_profile("B=1:1:1,L=16:32:99999,N=2:2:4,D=1:2:3")]))
    assert any(note.startswith("scorer.joint: ") and "L 16/32/99999" not in note for note in said)
    assert "no graph of this bundle has D: left out" in said


def notes_of(what: CompileJob) -> list[str]:
    said = list[str]()
    quiet = Quiet()
    quiet.note = said.append
    compile_bundle(what, quiet)
    return said


@pytest.mark.thorough
def test_a_damaged_plan_leaves_the_other_engines_and_can_be_built_again(copy):
    for damage in (lambda file: file.write_bytes(file.read_bytes()[:-1] + b"?"), Path.unlink):
        (entry,) = compile_bundle(order(copy), Quiet())
        damage(copy / entry.graphs["vision"].file)
        assert len(Scorer.load(copy).score("Which?", ["one", "two"]).scores) == 2
        with pytest.raises(EngineError, match=r"vision(?s:.*)yoj-export compile .* --target sm86"):
            check_loadable(Bundle.open(copy), entry, trt.__version__, (8, 6))
        compile_bundle(order(copy), Quiet())
        opened = Bundle.open(copy)
        assert opened.problems(opened.manifest.files) == []


def environment() -> dict[str, str]:
    here = Path(__file__).parent
    paths = [str(here), str(here.parent), *sys.path]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def in_process(code: str, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=240)
