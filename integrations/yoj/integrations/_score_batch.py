"""Tables of rows: judgements of a batch of them, for Ray Data, Hugging Face's datasets and pandas.

>>> from yoj.integrations import ScoreBatch
>>> scored = dataset.with_format("arrow").map(ScoreBatch("judge.yoj"), batched=True, batch_size=64)
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yoj.runtime import Judgement, Reading, Request, RequestError, Scorer
from yoj.runtime.codec import Ignore, Line, split, to_line, to_request
from yoj.runtime.error_texts import shorten
from yoj.runtime.manifest import Mode
from yoj.runtime.orders import Orders
from yoj.runtime.strict_json import Fields

from ._result_columns import COLUMNS, error_text, result_columns

log = logging.getLogger("yoj.integrations")

Results = list[Judgement | Exception]
NEEDED = (("prompt", "messages"), ("responses",))
"""Fields of which a row must have one of each."""


@dataclass(frozen=True)
class RowScoring:
    """Settings for scoring the rows of tables."""

    reading: Reading = field(default_factory=Reading)
    """Settings for reading the rows. By default media stand in the rows themselves; ``Reading(Policy(root))`` reads
    files below a folder, which every machine must have."""
    mode: Mode | None = None
    """Mode of rows that name none; see `yoj.runtime.Scorer.score_batch`."""
    orders: Orders = 1
    """Orders of rows that name none."""
    engine: str | None = None
    """Engine; None for the bundle's first, or for ``onnxruntime-cuda`` in an actor of Ray that has a GPU."""
    precision: str | None = None
    """Precision of the engine; None for the bundle's first."""
    rename: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    """Column -> field of a request that it holds, where its name is another one."""
    keep: Sequence[str] | None = None
    """Columns of the rows that stand in the result beside that of the ``id``; None for all."""


class ScoreBatch:
    """Scorer of the rows of a table, each of which is a request. Can be pickled; the bundle is opened again then.

    Columns are the fields of a request in JSON (docs/requests.md); others are not read. Media are bytes, structs of
    ``bytes`` and ``path``, base64, or what the policy of the reading allows.
    """

    def __init__(self, bundle: str | Path, settings: RowScoring | None = None, *, threads: int | None = None):
        """Open the bundle.

        Args:
            bundle: its folder, or its name on the Hugging Face hub.
            settings: None for the default ones.
            threads: see `yoj.runtime.Scorer.load`.

        Raises:
            YojError: the bundle cannot be opened; see `yoj.runtime.Scorer.load`.
        """
        self.settings = settings or RowScoring()
        self.scorer = Scorer.load(
            bundle, engine=self.settings.engine, precision=self.settings.precision, threads=threads
        )

    def __call__(self, table: Any) -> Any:
        """Score the rows of a table. A row that cannot be scored has the reason in its column ``error``.

        Args:
            table: a `pyarrow.Table`.

        Returns:
            A `pyarrow.Table` of as many rows in the same order: the kept columns as they were, then those of a result,
            which are null beside an error. Settings that a row may have (such as ``mode``) are there as they were used.

        Raises:
            RequestError: this is no table of Arrow, or its columns do not fit the settings; see `check_columns`.
        """
        pa: Any = importlib.import_module("pyarrow")
        if not isinstance(table, pa.Table):
            raise RequestError(
                f'A batch is a {type(table).__name__}; give a pyarrow.Table: batch_format="pyarrow" in map_batches of '
                'Ray, with_format("arrow") of a dataset, pyarrow.Table.from_pandas(frame).'
            )
        names: list[str] = table.column_names
        check_columns(names, self.settings)
        results = self.results(request_rows(table, self.settings))
        if bad := next((one for one in results if isinstance(one, Exception)), None):
            count = sum(isinstance(one, Exception) for one in results)
            log.warning("%d of %d rows were not scored; the first: %s", count, len(results), error_text(bad))
        return _joined(table, kept_columns(names, self.settings), result_columns(results))

    def results(self, rows: Sequence[Fields]) -> Results:
        """Judgements of rows, and the errors of those that cannot be scored, in the same order."""
        requests = [_request(row, self.settings.reading) for row in rows]
        judged = iter(self._judged([one for one in requests if isinstance(one, Request)]))
        return [next(judged) if isinstance(one, Request) else one for one in requests]

    def _judged(self, requests: Sequence[Request]) -> Results:
        try:
            return [
                *self.scorer.score_batch(
                    requests, mode=self.settings.mode, orders=self.settings.orders, on_error="return"
                )
            ]
        except Exception as error:  # whatever it is that no check foresaw must not touch the other rows
            if len(requests) == 1:
                return [error]
            return [result for request in requests for result in self._judged([request])]


def check_columns(names: Sequence[str], settings: RowScoring) -> None:
    """Check that the columns of a table fit the settings.

    Raises:
        RequestError: a column that the settings name is not there, two hold one field, there is no prompt or no
            responses, what is kept has the name of a column of the results, or nothing tells rows apart.
    """
    there = f"The columns are {shorten(', '.join(map(repr, names)) or 'none', 300)}"
    if missing := [name for name in (*settings.rename, *(settings.keep or ())) if name not in names]:
        raise RequestError(f"There is no column {', '.join(map(repr, missing))}, which rename or keep names. {there}.")
    fields = [settings.rename.get(name, name) for name in names]
    if twice := sorted({one for one in settings.rename.values() if fields.count(one) > 1}):
        raise RequestError(f"Two columns hold the field {', '.join(map(repr, twice))}. {there}; rename another one.")
    if unknown := sorted({*settings.rename.values()} - _readable(settings.rename.values(), settings)):
        raise RequestError(f"There is no field {', '.join(map(repr, unknown))} of a request, which rename names.")
    read = _readable(fields, settings)
    for either in NEEDED:
        if not read & {*either}:
            raise RequestError(
                f"There is no column {' or '.join(map(repr, either))}. {there}; name the one that holds it: "
                f"rename={{column: {either[0]!r}}}."
            )
    kept = kept_columns(names, settings)
    if clash := [name for name in kept if name in COLUMNS and name not in Line.__struct_fields__]:
        raise RequestError(
            f"The rows have a column {', '.join(map(repr, clash))}, as the results do. Rename it before, or leave it "
            "out with keep."
        )
    if settings.keep is not None and "id" not in fields:
        raise RequestError(
            "keep leaves columns out, and there is no column 'id' by which a row could be found again. Name one: "
            "rename={column: 'id'}, or keep all columns."
        )


def request_rows(table: Any, settings: RowScoring) -> list[Fields]:
    """Rows of a table as the fields of requests; columns that are no such field are not read."""
    columns = {settings.rename.get(name, name): name for name in table.column_names}
    read = _readable(columns, settings)
    names = [field for field in columns if field in read]
    if not names:
        return [{} for _ in range(table.num_rows)]
    return table.select([columns[name] for name in names]).rename_columns(names).to_pylist()


def kept_columns(names: Sequence[str], settings: RowScoring) -> list[str]:
    """Columns of the rows that stand in the result."""
    if settings.keep is None:
        return [*names]
    return [name for name in names if name in settings.keep or settings.rename.get(name, name) == "id"]


def _readable(fields: Iterable[str], settings: RowScoring) -> set[str]:
    ignored = Ignore(settings.reading.ignore.fields, unknown=True)
    return {*split(dict.fromkeys(fields), Line, ignored)[0]}


def _request(row: Fields, reading: Reading) -> Request | Exception:
    try:
        return to_request(to_line(row, Line, reading.ignore), reading)
    except Exception as error:  # an error of a row is a value, whatever it is
        return error


def _joined(table: Any, kept: Sequence[str], results: Mapping[str, Any]) -> Any:
    """Table of the kept columns and those of the results, which replace the settings that rows had."""
    found = table.select([name for name in kept if name not in results])
    for name, values in results.items():
        found = found.append_column(name, values)
    return found
