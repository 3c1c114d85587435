"""Files of many requests: shards of rows, scored by processes that prepare ahead of the engine."""

from .._jsonl import FileScoring
from .._source import Source
from ._file import FileJob, score_file
from ._pipeline import Pipeline, PipelineConfig, Usage
from ._rows import RowResult, ShardRow
from ._run import Bulk, score_shards

__all__ = [
    "Bulk",
    "FileJob",
    "FileScoring",
    "Pipeline",
    "PipelineConfig",
    "RowResult",
    "ShardRow",
    "Source",
    "Usage",
    "score_file",
    "score_shards",
]
