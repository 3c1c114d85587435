"""Judges as the reward of trainers: the responses of one prompt in one pass."""

from __future__ import annotations

__all__: list[str] = []
