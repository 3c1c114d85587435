"""Files of many requests: shards of rows, scored by processes that prepare ahead of the engine."""

from .._jsonl import FileScoring
from .._source import Source
from ._pipeline import Pipeline, PipelineConfig, Usage
from ._rows import Row, RowResult

__all__ = ["FileScoring", "Pipeline", "PipelineConfig", "Row", "RowResult", "Source", "Usage"]
