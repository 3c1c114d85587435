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


def make_rows(count: int, side: int | None = None) -> Iterator[dict[str, Any]]:
    """Rows that the same arguments give again.

    Args:
        count: number of rows.
        side: width and height of the pictures, as JPEG files like those of cameras; None for PNG files of 64 pixels.
    """
    config = ShapesConfig(count, 0, kinds=tuple(kind for kind in KINDS if kind != "moves"))
    for begin in range(0, count, ASKED):
        item = make_item("bulk", config, begin)
        fields, picture = item.fields(), io.BytesIO()
        drawn = Image.fromarray(item.frames[0])
        if side is None:
            drawn.save(picture, "png", compress_level=1)
        else:
            drawn.resize((side, side)).save(picture, "jpeg", quality=90)
        image = {"bytes": picture.getvalue(), "path": f"{begin}.{'png' if side is None else 'jpg'}"}
        for turn in range(min(ASKED, count - begin)):
            rotated = {name: fields[name][turn:] + fields[name][:turn] for name in ("responses", "rankings")}
            yield {"id": f"r{begin + turn}", "prompt": fields["prompt"], "image": image, **rotated}


def write_shards(folder: Path, count: int, shards: int, side: int | None = None) -> None:
    """Write rows of `make_rows` to shards of the same number of rows, as far as that is possible."""
    import pyarrow
    import pyarrow.parquet

    folder.mkdir(parents=True)
    rows = make_rows(count, side)
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
