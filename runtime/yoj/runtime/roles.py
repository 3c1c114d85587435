"""Roles of graphs: what each graph of a bundle computes, and in which modes."""

from __future__ import annotations

from dataclasses import dataclass

from .manifest import Mode

VISION, JOINT, SEGMENTED = "vision", "scorer.joint", "scorer.segmented"


@dataclass(frozen=True, kw_only=True)
class Role:
    """Purpose of a graph."""

    modes: tuple[Mode, ...]
    """Modes whose requests the graph scores; none where it makes features of media."""
    required: bool
    """Whether every bundle holds such a graph."""


ROLES = {
    VISION: Role(modes=(), required=True),
    JOINT: Role(modes=("joint",), required=True),
    SEGMENTED: Role(modes=("isolated",), required=False),
}
"""Name of a role in the manifest -> the role."""


def scorer_role(mode: Mode) -> str:
    """Role of the graph that scores requests in a mode."""
    return next(name for name, role in ROLES.items() if mode in role.modes)
