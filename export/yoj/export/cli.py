"""``yoj-export``: build a bundle, inspect one, compare one with its checkpoint, add TensorRT plans to one."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import Any

import click

from yoj.runtime.bundle import PLANS, Bundle
from yoj.runtime.engines import ENGINES, GPU_ENGINES, plan_engines
from yoj.runtime.manifest import MANIFEST_NAME, Manifest, ResponseImages
from yoj.runtime.options import Given, HubFolder, RenamedOptions, readable_errors, reading_options
from yoj.runtime.schemes import SCHEMES
from yoj.runtime.temperature import describe
from yoj.runtime.version import __version__

from .bundle._describe import describe_dimensions, describe_prompts, describe_quantisation, describe_training
from .options import checkpoint_options, prepare_libraries

EPILOG = """\b
Examples:
  yoj-export merged/ --layout assistant --out judge.yoj
  yoj-export adapter/ --base Molmo2-4B/ --layout assistant --out judge.yoj
  yoj-export org/judge@v1 --base allenai/Molmo2-4B@main --layout assistant --out judge.yoj
  yoj-export inspect judge.yoj
  yoj-export verify judge.yoj --against adapter/ --base Molmo2-4B/
  yoj-export compile judge.yoj --engine tensorrt-rtx --target sm86,sm89,sm120

yoj-export CHECKPOINT... is short for yoj-export build CHECKPOINT...

Where no folder is there, org/name@revision is downloaded from the Hugging Face
hub into its cache: CHECKPOINTS, --base, --against and the BUNDLE of inspect and
verify. The base model that an adapter names is not, unless --base names it too.
"""

MOST_GIB = 1024
PRECISIONS = ["float32", "float16", "bfloat16", "auto", *SCHEMES]


def _trained_n(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    least, _, most = (value or "").partition("-")
    if value is None:
        return None
    if not least.isdecimal() or not (most or least).isdecimal() or not 1 <= int(least) <= int(most or least):
        raise click.BadParameter("give the fewest and the most, such as 2-16, or one number.", ctx, parameter)
    return int(least), int(most or least)


def _language_prompt(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not (value and ctx.params["language"]):
        raise click.BadParameter("give a text, and --language.", ctx, parameter)
    return value


class _BuildByDefault(click.Group):
    """Command group whose first command may be left out."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "--version"):
            if not args[0].startswith("-") and "/" not in args[0] and not Path(args[0]).exists():
                raise click.UsageError(f"{args[0]} is neither a command ({', '.join(self.commands)}) nor a checkpoint.")
            args.insert(0, "build")
        return super().parse_args(ctx, args)


@click.group(cls=_BuildByDefault, epilog=EPILOG)
@click.version_option(__version__, prog_name="yoj-export")
def main() -> None:
    """Make a bundle from a trained reward model: ONNX graphs, tokenizer and manifest, checked against PyTorch."""
    # As Ctrl-C does it: what was begun beside the bundle is removed.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


@main.command(cls=RenamedOptions, renamed={"--plan": "--quantisation", "--rest": "--base-precision"})
@checkpoint_options
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder of the bundle, for example judge.yoj."
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="float32",
    show_default=True,
    help="Precision of weights and arithmetic; rotary tables, mean squares and the value head are float32 in each. "
    "auto runs sample packs layer by layer and takes float16 where it holds the largest values, else bfloat16. ONNX "
    "Runtime's CPU kernels have no bfloat16. The others are schemes of --quantisation.",
)
@click.option(
    "--quantisation",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="For int8, fp8 and the like: the quantisation config, a folder that yoj-calibrate quantisation made.",
)
@click.option(
    "--base-precision",
    type=click.Choice(["float32", "float16", "bfloat16"]),
    default="float32",
    show_default=True,
    help="With --quantisation: precision of everything that is not quantised. float32 is the fastest on a "
    "CPU, float16 for a GPU.",
)
@click.option(
    "--samples",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="For auto and float16: requests in JSON lines, as yoj-score reads them, with pictures as the model will see; "
    "the first 16 are run, and one at least must have an image or a video.  [default: made up ones, which seldom find "
    "the largest values]",
)
@click.option(
    "--trained-n",
    metavar="N-N",
    callback=_trained_n,
    help="Fewest and most responses that the model read together in training, such as 2-16, or one number. Judgements "
    "outside it say so.  [default: what reward_model_config.json says, else not known]",
)
@click.option(
    "--dimensions",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="For a checkpoint of EditReward: file of the texts that ask for each dimension, as docs/trained-layouts.md "
    "shows.  [default: dimensions.json beside the weights]",
)
@click.option(
    "--language",
    is_flag=True,
    is_eager=True,  # --language-prompt asks for it
    help="Add a graph that explains a response in words (docs/rationales.md), for a model that learnt to. Scores are "
    "the same.",
)
@click.option(
    "--language-prompt",
    callback=_language_prompt,
    help="With --language: the text behind a response that asked for its rationale in training.  "
    "[default: rationale_prompt of reward_model_config.json]",
)
@reading_options
@click.option(
    "--no-compare",
    is_flag=True,
    help="Leave out the comparison with the stock model, which takes about 10 bytes of memory for each parameter. Run "
    "yoj-export verify where there is as much.",
)
@click.option("--force", is_flag=True, help="Replace an existing bundle.")
def build(
    checkpoints: tuple[Path, ...],
    base: Path | None,
    layout: Any,
    out: Path,
    mode: Any,
    hidden_state: Any,
    video_expansion: Any,
    precision: Any,
    quantisation: Path | None,
    base_precision: Any,
    samples: Path | None,
    trained_n: tuple[int, int] | None,
    dimensions: Path | None,
    language: bool,
    language_prompt: str | None,
    no_compare: bool,
    force: bool,
    given: Given,
) -> None:
    """Build a bundle from CHECKPOINTS: one merged checkpoint, or LoRA adapters in the order they are applied.

    Ends with a comparison of the written bundle with the stock model; where they disagree, no bundle is left.
    """
    with readable_errors():
        prepare_libraries()
        from .bundle._build import build as run
        from .bundle._config import ExportConfig
        from .checkpoint._dimension_texts import read_dimension_texts
        from .checkpoint.checkpoint import Training

        texts = read_dimension_texts(dimensions) if dimensions else None
        training = Training(hidden_state, video_expansion, None, trained_n, None, None, texts, language_prompt)
        config = ExportConfig(
            *(checkpoints, base, layout, out, mode, force, training),
            precision=precision,
            samples=samples,
            reading=given.reading(samples.parent) if samples else None,
            compare=not no_compare,
            quantisation=quantisation,
            base_precision=base_precision,
            language=language,
        )
        manifest, fidelity = run(config, _Console())
    compared = (
        _verdict(fidelity) if fidelity else f"Not compared with the stock model: yoj-export verify {out} does it."
    )
    click.echo(f"\n{_files(manifest)}\n\n{compared}\n\nNext: {_example(manifest, out)}")


@main.command()
@click.argument("bundle", type=HubFolder("bundle"))
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON.")
def inspect(bundle: Path, as_json: bool) -> None:
    """Check the files of BUNDLE against their hashes and say what is in it."""
    with readable_errors():
        opened = Bundle.open(bundle)
        manifest, quantised = opened.manifest, describe_quantisation(opened.path)
    for problem in opened.problems(name for name in manifest.files if name.startswith(PLANS)):
        click.echo(f"warning: {problem}; build it again with yoj-export compile", err=True)
    click.echo(
        (bundle / MANIFEST_NAME).read_text("utf-8") if as_json else _describe(manifest, quantised), nl=not as_json
    )


@main.command()
@click.argument("bundle", type=HubFolder("bundle"))
@click.option(
    "--against",
    "checkpoints",
    required=True,
    multiple=True,
    type=HubFolder("checkpoint"),
    help="The checkpoint that BUNDLE was made from; repeat it for several adapters, in their order.",
)
@click.option("--base", type=HubFolder("checkpoint"), help="The base model under LoRA adapters.")
@click.option(
    "--engine",
    type=click.Choice(list(ENGINES)),
    help=f"Engine of BUNDLE; {GPU_ENGINES} need a GPU.  [default: its first]",
)
def verify(bundle: Path, checkpoints: tuple[Path, ...], base: Path | None, engine: str | None) -> None:
    """Compare the scores of BUNDLE with those of its checkpoint in PyTorch."""
    with readable_errors():
        prepare_libraries()
        from .verification._verify import VerifyJob
        from .verification._verify import verify as run

        fidelity = run(VerifyJob(bundle, checkpoints, base, engine), _Console())
    click.echo(f"\n{_verdict(fidelity)}")


@main.command("compile")
@click.argument("bundle", type=HubFolder("bundle", written=True))
@click.option("--engine", required=True, type=click.Choice(plan_engines()), help="Engine that the plans are for.")
@click.option(
    "--target",
    help="Compute capabilities to build for, sm86,sm89,sm120; with tensorrt-rtx the machine needs no GPU for it.  "
    "[default: this machine's GPU]",
)
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    help="Sizes to build for, L=512:2048:8192,N=2:4:64 (axis = smallest:usual:largest); repeat it for several "
    "profiles.  [default: see docs/engines.md]",
)
@click.option("--workspace", type=float, default=4.0, show_default=True, help="GiB of scratch memory of one layer.")
@click.option("--version-compatible", is_flag=True, help="tensorrt: plans that later 11.x releases load too.")
@click.option("--hardware-compatible", is_flag=True, help="tensorrt: plans for every GPU from sm80 on; slower.")
@click.option("--weight-streaming", is_flag=True, help="Weights may stay in host memory where the GPU's is too small.")
@click.option("--refit", is_flag=True, help="Weights of the plans can be replaced; needs a GPU.")
def compile_(
    bundle: Path,
    engine: str,
    target: str | None,
    profiles: tuple[str, ...],
    workspace: float,
    version_compatible: bool,
    hardware_compatible: bool,
    weight_streaming: bool,
    refit: bool,
) -> None:
    """Build TensorRT plans of the graphs of BUNDLE and add them to it.

    Until the last moment BUNDLE stays as it was; its engine onnxruntime stays beside the plans.
    """
    with readable_errors():
        from .tensorrt._builder import BuilderSettings
        from .tensorrt._compile import CompileJob, compile_bundle
        from .tensorrt._profiles import parse_profile

        try:
            parsed = [parse_profile(text) for text in profiles]
        except ValueError as error:
            raise click.UsageError(f"--profile: {error}") from error
        if not 0 < workspace <= MOST_GIB:
            raise click.UsageError(f"--workspace is {workspace}, give GiB above 0 and up to {MOST_GIB}.")
        settings = BuilderSettings(int(workspace * 2**30), version_compatible, weight_streaming, refit)
        targets = [name.strip() for name in (target or "").split(",") if name.strip()]
        job = CompileJob(bundle, engine, targets, parsed, hardware_compatible, settings)
        built = compile_bundle(job, _Console())
    for entry in built:
        assert entry.plans is not None
        click.echo(f"{entry.engine} {entry.precision} for {entry.plans.target}, {entry.plans.version}")
    click.echo(f"\nNext, on a machine with such a GPU: yoj-score {bundle} --engine {engine} ...")


class _Console:
    """Progress on standard error: stages with the time since the start, and a percentage on terminals."""

    def __init__(self) -> None:
        self._begin = time.perf_counter()
        self._total = self._written = 0

    def stage(self, name: str, bytes_to_write: int = 0) -> None:
        self._total, self._written = bytes_to_write, 0
        size = f" ({bytes_to_write / 1e6:,.0f} MB)" if bytes_to_write else ""
        click.echo(f"[{time.perf_counter() - self._begin:6.1f} s] {name}{size}", err=True)

    def advance(self, count: int) -> None:
        self._written += count
        if sys.stderr.isatty() and self._total:
            click.echo(f"\r           {min(1.0, self._written / self._total):6.1%}\r", nl=False, err=True)

    def note(self, text: str) -> None:
        click.echo(f"[{time.perf_counter() - self._begin:6.1f} s]   {text}", err=True)


def _verdict(fidelity: Any) -> str:
    from .verification.fidelity import table

    language = f"\n{fidelity.language.text}" if fidelity.language else ""
    return (
        f"{table(fidelity)}\n{fidelity.engine} {fidelity.precision} against {fidelity.reference}: largest difference "
        f"{fidelity.max_abs_diff:.1e}, allowed {fidelity.threshold:g}\n{fidelity.pictures.text}{language}"
    )


def _example(manifest: Manifest, out: Path) -> str:
    """Command that scores with a new bundle."""
    engine = " --engine onnxruntime-cuda" if manifest.engines[0].arithmetic == "bfloat16" else ""
    if manifest.response_images:
        return f"yoj-score {out}{engine} requests.jsonl"
    return f'yoj-score {out}{engine} --prompt "..." --response "..." --response "..."'


def _files(manifest: Manifest) -> str:
    rows = [f"{file.bytes:>14,}  {name}" for name, file in manifest.files.items()]
    return "\n".join([f"{'bytes':>14}  file", *rows])


RESPONSE_IMAGES: dict[ResponseImages, str] = {
    "any_size": "each shows a picture",
    "same_size": "each shows a picture, as large as the prompt's last",
}


def _describe(manifest: Manifest, quantised: str | None) -> str:
    head, limits, layout = manifest.value_head, manifest.limits, manifest.layout
    modes = "both modes" if layout.separator else "this mode alone"
    rows = {
        "family": manifest.family,
        "trained": f"{describe_training(manifest)} (scores in {modes})",
        "layout": f"responses in the {layout.name} turn",
        **({"responses": RESPONSE_IMAGES[manifest.response_images]} if manifest.response_images else {}),
        "prompts": describe_prompts(layout),
        "separator": f"{layout.separator} = {layout.separator_id}" if layout.separator else "none",
        "value head": f"{head.type}{f' ({head.activation})' if head.activation else ''}, read-out {head.readout}, "
        f"{head.hidden_state}, divided by {head.divisor:g}{describe_dimensions(head)}"
        f"{'; a second output gives sigma, uncalibrated' if head.outputs == 2 else ''}",
        **({"rationales": f"asked for with {manifest.language.prompt!r}"} if manifest.language else {}),
        "engines": ", ".join(
            f"{e.engine} {e.precision}{f' for {e.plans.target}' if e.plans else ''}" for e in manifest.engines
        ),
        **({"quantised": quantised} if quantised else {}),
        "limits": f"L={limits.L:,} N={limits.N} images={limits.images} frames={limits.frames} pixels={limits.pixels:,}",
        "probabilities": describe(manifest.probabilities),
        "float16": _headroom(manifest),
        **({"hub": ", ".join(manifest.provenance.hub)} if manifest.provenance.hub else {}),
        **{f"{kind}s": f"settings of {place}" for kind, place in manifest.provenance.processor.items()},
        "created": manifest.provenance.created,
        "libraries": ", ".join(f"{k} {v}" for k, v in manifest.provenance.libraries.items()),
        "CPU": ", ".join(manifest.provenance.instruction_sets) or "not known",
    }
    described = "\n".join(f"{name:14} {text}" for name, text in rows.items())
    checkpoint = "\n".join(f"  {digest[:16]}  {name}" for name, digest in manifest.provenance.checkpoint.items())
    return f"{described}\n\n{_files(manifest)}\n\nmade from (SHA-256, first 16 digits)\n{checkpoint}"


def _headroom(manifest: Manifest) -> str:
    overflow = manifest.provenance.float16_overflow
    if overflow is None:
        return "not looked at"
    return "holds all layers of the samples" if not overflow else f"may not hold {len(overflow)} layers: see --json"
