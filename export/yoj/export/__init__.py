"""Build bundles: a trained checkpoint becomes ONNX graphs, a tokenizer and a manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yoj.runtime.lazy import lazily

from .errors import CheckpointError, FidelityError, OutputError

if TYPE_CHECKING:
    from .bundle.build import build
    from .bundle.config import ExportConfig, Progress
    from .checkpoint.checkpoint import Training
    from .tensorrt.builder import BuilderSettings
    from .tensorrt.compile import CompileJob, compile_bundle
    from .tensorrt.profiles import Profile, parse_profile
    from .verification.fidelity import Fidelity
    from .verification.verify import VerifyJob, verify

__all__ = [
    "BuilderSettings",
    "CheckpointError",
    "CompileJob",
    "ExportConfig",
    "Fidelity",
    "FidelityError",
    "OutputError",
    "Profile",
    "Progress",
    "Training",
    "VerifyJob",
    "build",
    "compile_bundle",
    "parse_profile",
    "verify",
]

__getattr__ = lazily(
    __name__,
    {
        "build": ".bundle.build",
        "ExportConfig": ".bundle.config",
        "Progress": ".bundle.config",
        "Training": ".checkpoint.checkpoint",
        "BuilderSettings": ".tensorrt.builder",
        "CompileJob": ".tensorrt.compile",
        "compile_bundle": ".tensorrt.compile",
        "Profile": ".tensorrt.profiles",
        "parse_profile": ".tensorrt.profiles",
        "Fidelity": ".verification.fidelity",
        "VerifyJob": ".verification.verify",
        "verify": ".verification.verify",
    },
)
