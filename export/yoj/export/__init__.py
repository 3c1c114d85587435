"""Export: a trained checkpoint becomes a bundle of ONNX graphs, a tokenizer and a manifest."""

from __future__ import annotations

from .errors import CheckpointError, FidelityError

__all__ = ["CheckpointError", "FidelityError"]
