"""Manifest of a bundle: ``manifest.json`` as typed structs.

The JSON schema of these structs is ``manifest.schema.json`` in this folder; a test keeps the two equal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Annotated, Any, Literal, cast

import msgspec

from ._convert import to_struct
from ._manifest_layout import Layout as Layout
from ._manifest_layout import LayoutName as LayoutName
from ._manifest_layout import Piece as Piece
from ._manifest_layout import Turns as Turns
from ._manifest_layout import misplaced
from ._manifest_old import Tree, canonical_1, upgrade
from .errors import BundleError
from .version import __version__, release

SCHEMA_VERSION = 2
"""Schema version, raised when a reader cannot do without knowing the change; an optional field needs no new one."""
MIN_READER = "0.2.0"
"""Oldest version of yoj that reads manifests written by this one, and computes the same scores from them."""
MANIFEST_NAME = "manifest.json"
AXES = {
    "B": "requests in a batch",
    "L": "tokens in a row",
    "N": "responses of a request",
    "V": "visual tokens: rows of the vision graph's output",
    "C": "image crops that the vision tower encodes",
    "F": "frames of a video",
    "P": "patches of a crop or frame",
    "D": "hidden size of the backbone's text trunk",
    "K": "patches pooled into one visual token (Molmo2: 4 for an image, 9 for a frame)",
    "J": "named dimensions of the value head",
}
"""Dynamic axes by letter, the same in code suffixes, ONNX graphs, manifests and error texts; ``scores_BN`` is an array
of shape [B, N]."""

Mode = Literal["joint", "isolated"]
HeadType = Literal["linear", "mlp"]
Readout = Literal["last", "token", "first", "first_last_concat", "first_last_add", "first_last_sub", "response_mean"]
Pooling = Literal["mean", "min", "sum"]
ResponseImages = Literal["any_size", "same_size"]


class Dimension(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Named dimension of a value head, such as how well an instruction was followed."""

    name: str
    asks: tuple[Piece, ...] = ()
    """Pieces behind the content of each response where this dimension is read; empty for judges that read all
    dimensions at the response's end. Where a piece ``prompt`` stands in them, the prompt's texts stand there and not
    before the response."""


class ValueHead(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Value head, which turns the hidden states of a response into its score."""

    type: HeadType
    activation: str | None
    """Activation of an ``mlp`` head; None for a ``linear`` one."""
    readout: Readout
    """Tokens of the response that the head reads; ``token``: the special token in ``Dimension.asks``."""
    hidden_state: Literal["post_norm", "pre_norm"]
    """Hidden state that the head reads: after or before the trunk's final norm."""
    divisor: float
    """Divisor of the head's output, out = head(h) / divisor, score = out[0]: sqrt(hidden size) for a head over several
    responses; for one over single responses 1, or the standard deviation that its trainer divides by."""
    outputs: Annotated[int, msgspec.Meta(ge=1, le=2)] = 1
    """Number of outputs, 2 for a Gaussian head: spread = exp(out[1]) is the sigma that it states, in units of the
    score. It is not calibrated: sigma cannot be identified from preferences alone (arXiv 2605.11865)."""
    dimensions: tuple[Dimension, ...] = ()
    """Named dimensions, each with a head and outputs of its own; empty for the one score without a name."""
    pooling: Pooling = "mean"
    """Rule by which the dimensions become the score: see `yoj.runtime.dimensions.pool`."""

    def problems(self) -> Iterator[str]:
        """Dimensions that cannot be told apart or read."""
        names = [dimension.name for dimension in self.dimensions]
        if len(set(names)) < len(names):
            yield f"value_head.dimensions names one twice: {', '.join(names)}"
        for dimension in self.dimensions:
            place = f"value_head.dimensions, asks of {dimension.name!r}"
            yield from misplaced(place, dimension.asks, {"prompt"})
            tokens = sum(piece.kind == "token" for piece in dimension.asks)
            if self.readout == "token" and tokens != 1:
                yield f"{place} has {tokens} special tokens, and the read-out `token` reads the one"
        if self.readout == "token" and not self.dimensions:
            yield "value_head has the read-out `token` and no dimension that says which one"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits that a request may not exceed."""

    L: int
    """Most tokens of a row."""
    N: int
    """Most responses of a request."""
    images: int
    """Most images of the prompt, and of each response."""
    pixels: int
    """Most pixels of one image, width times height."""
    frames: int
    """Most frames of a video that the model sees; 0 where it takes none."""
    images_with_video: bool
    """Whether one request may have both images and a video."""


class TensorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One input or output of a graph."""

    name: str
    dtype: str
    """Type by NumPy's name, such as ``int64`` or ``float32``."""
    shape: tuple[int | str, ...]
    """Sizes of the axes: numbers, and axis letters (`AXES`) where the size is free."""


class Unsigned(msgspec.Struct, frozen=True, kw_only=True):
    """Second form of a graph, whose 8-bit matrices are unsigned with 128 for zero.

    The numbers are the same, in the form that x86 CPUs without VNNI multiply exactly.
    """

    file: str
    matrices: tuple[tuple[int, int], ...]
    """First byte and length of each matrix in the weight file, where it is signed: the highest bit of each byte
    differs."""


class Graph(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One ONNX graph of the bundle."""

    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    unsigned: Unsigned | None = None
    """Unsigned form of the graph; None where it has no 8-bit matrices."""


Size = Annotated[int, msgspec.Meta(ge=1)]


class ShapeProfile(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of one axis that an optimisation profile takes: from ``min`` to ``max``, fastest near ``opt``."""

    min: Size
    opt: Size
    max: Size


class Plans(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Origin of TensorRT plans: all that decides whether they may be loaded."""

    library: str
    """Library that built them, ``tensorrt`` or ``tensorrt_rtx``."""
    version: str
    """Version of the library, such as ``1.7.1.116``."""
    target: str
    """Compute capability of the GPU, ``sm86`` for 8.6; ``sm80+`` for Ampere and everything newer."""
    driver: int | None = None
    """CUDA version of the driver at the build, 1000 x major + 10 x minor; None where there was no GPU."""
    flags: tuple[str, ...]
    """Builder flags by TensorRT's names, sorted."""
    onnx: dict[str, str]
    """Path in the bundle -> SHA-256 of every ONNX file that the plans were built from, graphs and weights."""
    profiles: dict[str, tuple[dict[str, ShapeProfile], ...]]
    """Role -> the plan's optimisation profiles in their order, each by axis letter."""


class EngineEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One way to execute the graphs, and the graph files of each role."""

    engine: str
    precision: str
    """Precision of the matrices: ``float32``, ``float16``, ``bfloat16``, or the scheme of the quantised ones, such as
    ``int8`` or ``fp8``. ``quantisation.json`` lists the quantised matrices, those of the vision tower included."""
    graphs: dict[str, Graph]
    """Role (``vision``, ``scorer.joint``, ``scorer.segmented``) -> graph."""
    base_precision: str | None = msgspec.field(default=None, name="rest")
    """Base precision, of everything that is not quantised; None where nothing is quantised."""
    plans: Plans | None = None
    """Origin of the TensorRT plans that ``Graph.file`` names; None for engines that run ONNX graphs."""
    query_blocks: Size = 1
    """Number of blocks, computed one after the other, into which the scorers' attention cuts the queries of a row; rows
    have at least as many tokens."""

    @property
    def arithmetic(self) -> str:
        """Precision of everything but quantised matrices: ``float32``, ``float16`` or ``bfloat16``."""
        return self.base_precision or self.precision


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """Quality of probabilities on rankings; lower is better."""

    nll: float
    """Negative log likelihood of the best response, in nats per request; log(N) is a guess."""
    brier: float
    """Brier score: squared differences of the probabilities of a request from 1 for its best response and 0 for the
    others, summed over its responses; 0 to 2."""
    ece: float
    """Expected calibration error: mean distance of P from how often it comes true, 0 to 1."""


class ProbabilityFit(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions under which temperatures were fitted: probabilities under others are not calibrated."""

    samples: int
    """Number of requests with rankings."""
    data: str
    """SHA-256 of the file of requests."""
    mode: Mode
    """Mode in which the responses were read, in one order."""
    engine: str
    precision: str
    before: Quality
    """Quality at temperature 1."""
    after: Quality
    """Cross-fitted quality: each half of the requests at the temperatures of the other half."""


Temperature = Annotated[float, msgspec.Meta(gt=0)]


class TemperatureOfN(msgspec.Struct, frozen=True, kw_only=True):
    """Temperature of requests with N responses."""

    N: Size
    temperature: Temperature
    samples: int
    """Number of requests with N responses among the rankings; where they are too few, the temperature is that of all
    N."""


class Probabilities(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Rule by which scores become P(best): softmax(scores / temperature)."""

    temperature: Temperature
    """Temperature of requests of every N together, in units of the score."""
    calibrated: bool
    """Whether a temperature was fitted; False while it is the neutral 1.0."""
    by_n: tuple[TemperatureOfN, ...] = ()
    """Temperatures for each N of the rankings, smallest first; `yoj.runtime.temperature` has the rule for an N
    between."""
    fit: ProbabilityFit | None = None
    """Conditions of the fit; None while nothing was fitted."""


class File(msgspec.Struct, frozen=True, kw_only=True):
    """One file of the bundle."""

    bytes: int
    sha256: str


class Provenance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Origin of the bundle."""

    checkpoint: dict[str, str]
    """File of the checkpoint -> its SHA-256. Weight shards are included."""
    libraries: dict[str, str]
    created: str
    """Time of the export in UTC, ISO 8601."""
    instruction_sets: tuple[str, ...] = ()
    """Instruction sets of the CPU on which it was exported and compared with PyTorch (names of
    `yoj.runtime.machine`); empty where that was not known."""
    float16_overflow: dict[str, float] | None = None
    """Layer -> largest magnitude that float16 would not hold with headroom, where the export chose the precision."""
    processor: dict[str, str] = {}
    """``image`` and ``video`` -> file and section with its settings, such as ``image_processor of
    adapter/processor_config.json``."""
    hub: tuple[str, ...] = ()
    """``org/name@commit`` of the checkpoint's folders that came from the Hugging Face hub, the base last."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Content of ``manifest.json``."""

    schema_version: int
    min_reader: str
    """Oldest version of yoj that can read this bundle, such as ``0.2.0``."""
    family: str
    """Backbone family, the ``model_type`` of the checkpoint, whose module prepares the requests."""
    trained_mode: Mode
    """Mode in which the model was trained: joint, where responses see those before them, or isolated, one at a time."""
    layout: Layout
    value_head: ValueHead
    limits: Limits
    attention_heads: int
    """Number of query heads of the text trunk, from which the memory of attention is estimated."""
    vision_heads: int
    """Number of heads of the vision tower, from which the memory of attention is estimated."""
    hidden_size: int
    preprocessing: dict[str, Any]
    """Settings of the family's preprocessing, typed in its module."""
    engines: tuple[EngineEntry, ...]
    probabilities: Probabilities
    provenance: Provenance
    files: dict[str, File]
    """Every file of the bundle except this one, by its path with forward slashes."""
    vocabulary: Size | None = None
    """Rows of the embedding table, which every id of the tokenizer is below; None where not known (bundles before
    0.2)."""
    trained_n: tuple[Size, Size] | None = None
    """Fewest and most responses that the model read together in training; None where that is not known."""
    response_images: ResponseImages | None = None
    """Pictures that the judge needs in every response; None where a response may have none. ``same_size``: as large as
    the last picture of the prompt."""
    transparency: Literal["white", "drop"] = "white"
    """Treatment of transparency in pictures: put on white, as today's processors do, or dropped."""
    digest: str
    """SHA-256 of this file's content as compact JSON with keys sorted at every level and an empty digest, so that no
    value can change unseen, known to the reader or not. Of an upgraded manifest, that in its file."""


def seal(manifest: Manifest) -> Manifest:
    """Copy of the manifest with its digest filled in."""
    return msgspec.structs.replace(manifest, digest=_sha256(canonical(msgspec.structs.replace(manifest, digest=""))))


def encode(manifest: Manifest) -> bytes:
    """Text of ``manifest.json``."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def canonical(content: Manifest | Tree) -> bytes:
    """Compact JSON with keys sorted at every level: its SHA-256 is the digest, if the content has an empty one."""
    return msgspec.json.encode(content, order="sorted")


def decode(text: bytes, where: str) -> Manifest:
    """Read ``manifest.json`` of this schema version or an earlier one. Fields that this yoj does not know are left out.

    The digest covers them all the same.

    Args:
        text: content of the file.
        where: name of the file in errors.

    Raises:
        BundleError: the text is no JSON, is for a newer yoj, or has a wrong digest, missing fields or wrong types.
    """
    tree = _parse(text, where)
    _check_reader(tree, where)
    _check_digest(tree, where)
    try:
        manifest = to_struct(upgrade(tree), Manifest)
    except (msgspec.ValidationError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise _damaged(where, error) from error
    if problems := "; ".join((*manifest.layout.problems(), *manifest.value_head.problems())):
        raise _damaged(where, problems)
    return manifest


def unknown_fields(text: bytes, where: str) -> list[str]:
    """Fields of a ``manifest.json`` that this yoj does not know, such as ``limits.audio``: rewriting would lose them.

    Raises:
        BundleError: the manifest cannot be read; see `decode`.
    """
    manifest = decode(text, where)
    return list(_unknown(upgrade(_parse(text, where)), manifest, ""))


def _unknown(value: Any, read: object, place: str) -> Iterator[str]:
    """Compare JSON with what became of it. Maps keep all their keys; structs keep those that they know."""
    if isinstance(read, msgspec.Struct):
        known = {field.encode_name: getattr(read, field.name) for field in msgspec.structs.fields(read)}
        yield from (f"{place}{name}" for name in value if name not in known)
    elif isinstance(read, dict):
        known = cast("Tree", read)
    elif isinstance(read, tuple):
        for number, (item, member) in enumerate(zip(value, cast("tuple[object, ...]", read), strict=True)):
            yield from _unknown(item, member, f"{place.removesuffix('.')}[{number}].")
        return
    else:
        return
    for name in known.keys() & value.keys():
        yield from _unknown(value[name], known[name], f"{place}{name}.")


def _parse(text: bytes, where: str) -> Tree:
    try:
        tree = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _damaged(where, error) from error
    if type(tree.get("schema_version")) is not int:
        raise _damaged(where, "`schema_version` is not a whole number")
    return tree


def _check_reader(tree: Tree, where: str) -> None:
    """Refuse a manifest that only another version of yoj can read."""
    version = tree["schema_version"]
    if version > SCHEMA_VERSION:
        raise BundleError(
            f"{where} has schema version {version}, yoj {__version__} reads up to {SCHEMA_VERSION}: upgrade yoj."
        )
    if version < 1:
        raise _damaged(where, f"there is no schema version {version}")
    if version == 1:
        return
    try:
        least = release(tree["min_reader"])
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(where, f"`min_reader` has to be a version such as {MIN_READER!r}") from error
    if least > release(__version__):
        raise BundleError(f"{where} needs yoj >= {tree['min_reader']}, this is yoj {__version__}: upgrade yoj.")


def _check_digest(tree: Tree, where: str) -> None:
    if "digest" not in tree:
        raise _damaged(where, "it has no field `digest`")
    blank = tree | {"digest": ""}
    try:
        covered = canonical_1(blank) if tree["schema_version"] == 1 else canonical(blank)
    except (OverflowError, RecursionError) as error:
        raise _damaged(where, error) from error
    if tree["digest"] != _sha256(covered):
        raise BundleError(
            f"{where} was changed after it was written: its values do not fit its digest. Export the bundle again."
        )


def _damaged(where: str, problem: object) -> BundleError:
    return BundleError(f"{where} is damaged: {problem}. Export the bundle again.")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
