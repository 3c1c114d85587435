"""Judges on a cluster of Ray: datasets scored by a pool of actors, a deployment of Ray Serve, and meeting points.

>>> from yoj.integrations.ray import score_dataset
>>> scored = score_dataset(ray.data.read_parquet("rows/"), "judge.yoj")
>>> scored.write_parquet("scored/")
"""

from __future__ import annotations

from ._ray_bundle import ShippedBundle, ship_bundle
from ._ray_data import Actors, ScoreActor, score_dataset
from ._ray_meeting import MeetingActor, meeting_actor
from ._ray_serve import JudgeReplica, ServeConfig, serve_app

__all__ = [
    "Actors",
    "JudgeReplica",
    "MeetingActor",
    "ScoreActor",
    "ServeConfig",
    "ShippedBundle",
    "meeting_actor",
    "score_dataset",
    "serve_app",
    "ship_bundle",
]
