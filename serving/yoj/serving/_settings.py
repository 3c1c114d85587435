"""Settings of the HTTP server."""

from __future__ import annotations

from dataclasses import dataclass, field

from yoj.integrations import MeetingSettings, RewardSettings
from yoj.runtime.batch import BATCH_TOKENS


@dataclass(frozen=True)
class QueueSettings:
    """Settings of the queue before the engine, and of the batches that are taken from it."""

    max_queue: int = 128
    """Most requests that are in the server at once; one more is refused with 429."""
    max_delay: float = 0.002
    """Most seconds that a request waits for others which are being prepared, while the engine is free."""
    batch_tokens: int = BATCH_TOKENS
    """Most tokens of one batch, padding included."""
    intake_threads: int = 4
    """Threads that decode, resize and pack."""
    runs: int = 1
    """Batches that are scored at once: 1 on a CPU, where one batch takes all cores."""


@dataclass(frozen=True)
class GroupSettings:
    """Settings of the routes that take the samples of groups one by one."""

    meeting: MeetingSettings = field(default_factory=MeetingSettings)
    reward: RewardSettings = field(default_factory=RewardSettings)


@dataclass(frozen=True)
class HttpSettings:
    """Settings of the HTTP server."""

    name: str = "judge"
    """Name of the model in ``/v1/models``; requests may name it as ``model``."""
    queue: QueueSettings = field(default_factory=QueueSettings)
    max_body: int = 32 * 2**20
    """Largest body of a request in bytes."""
    max_bytes: int = 512 * 2**20
    """Most bytes of all bodies that are in the server at once; more are refused with 429."""
    body_seconds: float = 20.0
    """Seconds in which a body must have arrived."""
    deadline: float = 60.0
    """Seconds after which a request that was not scored is answered with 504."""
    hosts: frozenset[str] = frozenset()
    """Hosts from which media may be fetched; see `yoj.runtime.Policy`."""
    api_keys: tuple[str, ...] = ()
    """Keys, one of which a request must bear; empty for none."""
    groups: GroupSettings | None = None
    """Settings of the routes below ``/v1/groups``; None for no such routes."""
    log_content: bool = False
    """Whether log lines hold the texts of requests that failed."""
