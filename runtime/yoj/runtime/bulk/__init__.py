"""Files of many requests: shards of rows, scored by processes that prepare ahead of the engine."""

from .._jsonl import FileScoring
from .._source import Source
from ._pipeline import Pipeline, PipelineConfig, Usage
from ._rows import Row, RowResult
from ._run import Bulk, score_shards

__all__ = ["Bulk", "FileScoring", "Pipeline", "PipelineConfig", "Row", "RowResult", "Source", "Usage", "score_shards"]
