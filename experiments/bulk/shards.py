"""Shards of requests about pictures of shapes, as the data sets of Hugging Face have them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from ..shapes.answers import KINDS
from ..shapes.dataset import ShapesConfig, make_item

ASKED = 4
"""Rows about one picture, with the answers in another order in each."""
GROUP_ROWS = 500
"""Rows of a row group."""


def make_rows(count: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Rows that the same arguments give again."""
    config = ShapesConfig(count, seed, kinds=tuple(kind for kind in KINDS if kind != "moves"))
    for number in range(count):
        place, turn = divmod(number, ASKED)
        if turn == 0:
            item = make_item("bulk", config, place)
            fields, picture = item.fields(), io.BytesIO()
            Image.fromarray(item.frames[0]).save(picture, "png", compress_level=1)
        rotated = {name: fields[name][turn:] + fields[name][:turn] for name in ("responses", "rankings")}
        image = {"bytes": picture.getvalue(), "path": f"{place}.png"}
        yield {"id": f"r{number}", "prompt": fields["prompt"], "image": image, **rotated}


def write_shards(folder: Path, count: int, shards: int, seed: int = 0) -> None:
    """Write rows to shards of the same number of rows, as far as that is possible."""
    import pyarrow
    import pyarrow.parquet

    folder.mkdir(parents=True)
    rows = make_rows(count, seed)
    for shard in range(shards):
        mine = [next(rows) for _ in range((shard + 1) * count // shards - shard * count // shards)]
        table = pyarrow.Table.from_pylist(mine)
        pyarrow.parquet.write_table(table, folder / f"part-{shard:05}.parquet", row_group_size=GROUP_ROWS)


def read_rows(folder: Path, columns: list[str] | None = None) -> Iterator[Mapping[str, Any]]:
    """Rows of all shards of a folder, in order."""
    import pyarrow.parquet

    for file in sorted(folder.glob("part-*.parquet")):
        for batch in pyarrow.parquet.ParquetFile(file).iter_batches(GROUP_ROWS, columns=columns):
            yield from batch.to_pylist()
