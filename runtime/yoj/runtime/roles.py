"""Roles of graphs: what each graph of a bundle computes, and in which modes."""

from __future__ import annotations

from dataclasses import dataclass

from .manifest import Mode

VISION, JOINT, SEGMENTED, LANGUAGE = "vision", "scorer.joint", "scorer.segmented", "language"


@dataclass(frozen=True, kw_only=True)
class Role:
    """Purpose of a graph."""

    modes: tuple[Mode, ...]
    """Modes whose requests the graph scores; none where it gives no scores."""
    required: bool
    """Whether every bundle holds such a graph."""
    plans: bool = True
    """Whether TensorRT plans are built of the graph."""


ROLES = {
    VISION: Role(modes=(), required=True),
    JOINT: Role(modes=("joint",), required=True),
    SEGMENTED: Role(modes=("isolated",), required=False),
    LANGUAGE: Role(modes=(), required=False, plans=False),  # its cache begins with no token, which no profile takes
}
"""Name of a role in the manifest -> the role."""


def scorer_role(mode: Mode) -> str:
    """Role of the graph that scores requests in a mode."""
    return next(name for name, role in ROLES.items() if mode in role.modes)
