"""Row that a rationale continues.

It is that of a request with one response: the prompt, the response that is explained and a text that asks for the
explanation stand in the user's turn, and the rationale is the assistant's.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .errors import RequestError
from .packing import Pack
from .script import Script, Turn


def rationale_script(script: Script, response: int, ask: str) -> Script:
    """Script of the row that a rationale continues: its response is empty.

    Args:
        script: the request.
        response: index of the response that is explained.
        ask: text that asks for the explanation.

    Raises:
        RequestError: there is no such response.
    """
    n = len(script.responses)
    if isinstance(response, bool) or not isinstance(response, int | np.integer) or not 0 <= response < n:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise RequestError(
            f"response is {response!r}; the request has N={n} responses, give a whole number from 0 to {n - 1}."
        )
    kept = [number for number, owner in enumerate(script.owners) if owner in (0, response + 1)]
    place = {number: new for new, number in enumerate(kept)}
    *before, last = [
        replace(turn, parts=tuple(part if isinstance(part, str) else place[part] for part in turn.parts))
        for turn in script.turns
    ]
    explained = tuple(part if isinstance(part, str) else place[part] for part in script.responses[response])
    return Script(
        (*before, Turn(last.role, (*last.parts, *explained, ask))),
        (("",),),
        tuple(script.media[number] for number in kept),
        tuple(script.names[number] for number in kept),
        (0,) * len(kept),
        script.notices,
    )


def with_room(pack: Pack, room: int) -> Pack:
    """Pack with so many places behind it, which hold the row's last token, a text token, until others are chosen."""
    length = len(pack.input_ids_L)
    zeros = np.zeros(room, np.int64)
    return replace(
        pack,
        input_ids_L=np.concatenate([pack.input_ids_L, np.full(room, pack.input_ids_L[-1])]),
        media_L=np.concatenate([pack.media_L, zeros]),
        segment_L=np.concatenate([pack.segment_L, zeros]),
        index_L=np.arange(length + room),
    )
