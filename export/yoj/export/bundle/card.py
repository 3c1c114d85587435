"""Model card, the bundle's README.md, written from its manifest."""

from __future__ import annotations

from yoj.runtime.manifest import Manifest
from yoj.runtime.temperature import describe

from ..verification.fidelity import Fidelity, table
from ._describe import describe_dimensions, describe_prompts, describe_training


def model_card(manifest: Manifest, fidelity: Fidelity | None, quantised: str | None = None) -> str:
    """Model card in Markdown: what the bundle is, how to use it, how it agrees with PyTorch, where it comes from.

    Args:
        manifest: the bundle's manifest.
        fidelity: agreement with the stock model, where it was measured.
        quantised: summary of the matrices in 8 or 4 bits, from `yoj.export.bundle._describe.describe_quantisation`.
    """
    head, limits = manifest.value_head, manifest.limits
    checkpoint = "\n".join(f"| `{name}` | `{digest}` |" for name, digest in manifest.provenance.checkpoint.items())
    libraries = ", ".join(f"{name} {version}" for name, version in manifest.provenance.libraries.items())
    activation = f" ({head.activation})" if head.activation else ""
    in_bits = (
        f"| quantised | {quantised}; everything else {manifest.engines[0].base_precision} |\n" if quantised else ""
    )
    spread = "; a second output gives `spread`, the sigma of each score, uncalibrated" if head.outputs == 2 else ""
    return f"""# Multi-response reward model, {manifest.family}

One forward pass reads a prompt, its images and N candidate answers, and gives N scores. Scores compare only within
one pack. Built by yoj on {manifest.provenance.created}.

```
pip install 'yoj[ort]'
yoj-score . --image photo.jpg --prompt "What is shown?" --response "A cat." --response "A red bus."
```

| | |
|---|---|
| trained | {describe_training(manifest)} |
| layout | responses in the `{manifest.layout.name}` turn |
| prompts | {describe_prompts(manifest.layout)} |
| value head | {head.type}{activation}, read-out `{head.readout}`, {head.hidden_state}, \
divided by {head.divisor:.4f}{describe_dimensions(head)}{spread} |
| limits | {limits.L:,} tokens, {limits.N} responses, {limits.images} images, {limits.frames} frames, \
{limits.pixels:,} pixels each |
| probabilities | {describe(manifest.probabilities)} |
| graphs | {manifest.engines[0].precision}, for ONNX Runtime; `yoj-export inspect .` lists plans that were added later |
{in_bits}
## Agreement with the stock model

{_agreement(fidelity)}

## Made from

| file | SHA-256 |
|---|---|
{checkpoint}

{libraries}{_cpu(manifest)}
"""


def _cpu(manifest: Manifest) -> str:
    sets = ", ".join(manifest.provenance.instruction_sets)
    return f"; on a CPU with {sets}" if sets else ""


def _agreement(fidelity: Fidelity | None) -> str:
    if fidelity is None:
        return "Not compared when it was exported. `yoj-export verify` compares."
    against = f"{fidelity.engine} {fidelity.precision} against {fidelity.reference}; threshold {fidelity.threshold:g}."
    pictures = f"\n\n{fidelity.pictures.text}." if fidelity.pictures else ""
    language = f"\n\n{fidelity.language.text}." if fidelity.language else ""
    return f"{against}\n\n```\n{table(fidelity)}\n```{pictures}{language}"
