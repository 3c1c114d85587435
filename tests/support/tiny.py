"""The graphs of one checkpoint in ONNX Runtime, with the stock model beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.families.opening import open_family
from yoj.export.graph.write import WeightFile, write_graph
from yoj.export.prompts.layout import render_layout
from yoj.export.verification.stock_model import StockModel
from yoj.runtime import Request
from yoj.runtime.batch import Prepared, scorer_inputs
from yoj.runtime.families.molmo2 import Molmo2
from yoj.runtime.packing import Packer
from yoj.runtime.script import script_of
from yoj.runtime.text import TextEncoder

RECORDED = Path(__file__).parents[1] / "golden" / "data" / "checkpoint-merged"
WORDS = "a the red blue small cat dog car tree is are in on under near two three, and not. It shows 42% of".split()  # noqa: SIM905


class Exported:
    """The graphs of one checkpoint in ONNX Runtime, and the stock model beside them; no bundle around them."""

    def __init__(self, source: Path, folder: Path, checkpoint: Checkpoint | None = None):
        self.folder = folder
        (folder / "onnx").mkdir(parents=True)
        self.checkpoint = checkpoint or Checkpoint.open([source])
        family = open_family(self.checkpoint)
        weights = WeightFile(folder / "onnx" / "weights.data", self.checkpoint.weights, lambda _: None)
        self.graphs = {s.role: write_graph(s, folder, weights, torch.float32) for s in family.graphs}
        self.sessions = {
            role: onnxruntime.InferenceSession(str(folder / graph.file), providers=["CPUExecutionProvider"])
            for role, graph in self.graphs.items()
        }
        self.checkpoint.tokenizer.save(str(folder / "tokenizer.json"))
        layout = render_layout(self.checkpoint, "assistant", family.markup())
        encoder = TextEncoder.open(folder / "tokenizer.json")
        self.packer = Packer(encoder, layout, family.limits.L)
        self.family = Molmo2(family.preprocessing(), encoder.token_id)
        self.reference = StockModel(self.checkpoint, family)
        self.D = int(self.checkpoint.config["text_config"]["hidden_size"])

    def prepare(self, request: Request) -> Prepared:
        media = tuple(self.family.prepare_image(image) for image in request.images)
        packs = self.packer.pack(script_of(request), [medium.spans for medium in media])
        keys = tuple(image.tobytes() for image in request.images)
        return Prepared(packs, (tuple(range(len(request.responses))),), media, keys, "joint")

    def inputs(self, batch: Sequence[Prepared]) -> dict[str, np.ndarray]:
        """What the joint scorer graph takes for a batch, visual features included."""
        features = {
            key: {"image_features": self.run("vision", self.family.vision_inputs([medium]))}
            for prepared in batch
            for key, medium in zip(prepared.keys, prepared.media, strict=True)
        }
        arrays = {"image_features": np.zeros((1, self.D), np.float32)} | scorer_inputs(batch, self.family, features)
        return {spec.name: arrays[spec.name] for spec in self.graphs["scorer.joint"].inputs}

    def run(self, role: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
        return self.sessions[role].run(None, inputs)[0]

    def score(self, batch: Sequence[Prepared]) -> np.ndarray:
        """[B, N] from the graphs."""
        return self.run("scorer.joint", self.inputs(batch))

    def expected(self, batch: Sequence[Prepared]) -> np.ndarray:
        """[B, N] from the stock model, one request at a time; -inf where a request has fewer responses."""
        rows = [self.reference.score(prepared, self.family) for prepared in batch]
        scores_BN = np.full((len(rows), max(map(len, rows))), -np.inf, np.float32)
        for scores_N, row in zip(scores_BN, rows, strict=True):
            scores_N[: len(row)] = row
        return scores_BN


def make_request(seed: int, n: int, words: int, sizes: Sequence[tuple[int, int]] = ()) -> Request:
    """A request of N responses of about ``words`` words, with noise images of these sizes (height, width)."""
    draw = np.random.default_rng(seed)

    def text(count: int) -> str:
        return " ".join(draw.choice(WORDS, count))

    images = [draw.integers(0, 256, (height, width, 3), np.uint8) for height, width in sizes]
    responses = [text(words + int(draw.integers(0, 4))) for _ in range(n)]
    return Request(text(6 + int(draw.integers(0, 9))) + "?", responses, images)
