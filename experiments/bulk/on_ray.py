"""The same rows by a pool of actors of Ray Data on this machine."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from yoj.integrations import RowScoring
from yoj.integrations.ray import Actors, score_dataset


def run(bundle: Path, shards: Path, out: Path, actors: int) -> dict[str, Any]:
    """Score the rows into a new folder.

    Returns:
        ``actors``, ``rows``, ``distinct``, the number of different ids, ``failed``, and ``seconds`` from the first row
        to the last file, with the start of the actors.
    """
    import pyarrow.parquet
    import ray

    ray.init(num_cpus=actors + 1, include_dashboard=False)  # one reads the rows
    begin = time.monotonic()
    scored = score_dataset(ray.data.read_parquet(str(shards)), bundle, RowScoring(), Actors(actors))
    shutil.rmtree(out, ignore_errors=True)
    scored.write_parquet(str(out))
    seconds = time.monotonic() - begin
    ray.shutdown()
    table = pyarrow.parquet.read_table(out, columns=["id", "error"])
    return {
        "actors": actors,
        "rows": table.num_rows,
        "distinct": len(set(table["id"].to_pylist())),
        "failed": table.num_rows - table["error"].null_count,
        "seconds": round(seconds, 1),
    }
