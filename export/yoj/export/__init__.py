"""Build bundles: a trained checkpoint becomes ONNX graphs, a tokenizer and a manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yoj.runtime.lazy import lazily

from ._errors import CheckpointError, FidelityError, OutputError

if TYPE_CHECKING:
    from .bundle._build import build
    from .bundle._config import ExportConfig, Progress
    from .checkpoint.checkpoint import Training
    from .tensorrt._builder import BuilderSettings
    from .tensorrt._compile import CompileJob, compile_bundle
    from .tensorrt._profiles import Profile, parse_profile
    from .verification._verify import VerifyJob, verify
    from .verification.fidelity import Fidelity

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
        "build": ".bundle._build",
        "ExportConfig": ".bundle._config",
        "Progress": ".bundle._config",
        "Training": ".checkpoint.checkpoint",
        "BuilderSettings": ".tensorrt._builder",
        "CompileJob": ".tensorrt._compile",
        "compile_bundle": ".tensorrt._compile",
        "Profile": ".tensorrt._profiles",
        "parse_profile": ".tensorrt._profiles",
        "Fidelity": ".verification.fidelity",
        "VerifyJob": ".verification._verify",
        "verify": ".verification._verify",
    },
)
