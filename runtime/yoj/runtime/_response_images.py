"""Pictures that a judge of pictures needs in every response."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import MediaError, RequestError
from .manifest import ResponseImages
from .script import Script

NAMED = 4
"""Most pictures of another size that an error names."""


def check_pictures(script: Script, needed: ResponseImages | None) -> None:
    """Refuse responses without a picture where the judge grades pictures.

    Args:
        script: a request, whose media are not read yet.
        needed: pictures that the judge needs; None where a response may have none.

    Raises:
        RequestError: a response, or the prompt whose picture the others are compared with, shows no picture.
    """
    if needed is None:
        return
    owners = {owner for number, owner in enumerate(script.owners) if number not in script.videos}
    if bare := [f"responses[{k}]" for k in range(len(script.responses)) if k + 1 not in owners]:
        raise RequestError(
            f"{', '.join(bare)} {'shows' if len(bare) == 1 else 'show'} no picture, and this judge grades pictures. "
            "Give each response its picture: [Image('edited.png')], in JSON "
            '[{"type": "image", "image": "edited.png"}].'
        )
    if needed == "same_size" and 0 not in owners:
        raise RequestError(
            "The prompt shows no picture, and this judge grades edits of one. Give the source in images, or in the "
            'prompt as Image(\'source.png\'), in JSON as image or {"type": "image", "image": "source.png"}.'
        )


def check_sizes(script: Script, sizes: Sequence[tuple[int, int] | None], needed: ResponseImages | None) -> None:
    """Refuse pictures of responses that are of another size than the prompt's last picture, where the judge needs it.

    Args:
        script: the request.
        sizes: height and width of each medium in pixels; None for a video.
        needed: pictures that the judge needs.

    Raises:
        MediaError: a picture is of another size.
    """
    if needed != "same_size":
        return
    pictures = [(number, size) for number, size in enumerate(sizes) if size is not None]
    source, size = [one for one in pictures if script.owners[one[0]] == 0][-1]
    unlike = [
        f"{script.names[number]} is {_text(other)}"
        for number, other in pictures
        if script.owners[number] > 0 and other != size
    ]
    if unlike:
        told = "; ".join(unlike[:NAMED] + ([f"{len(unlike) - NAMED} more"] if len(unlike) > NAMED else []))
        raise MediaError(
            f"{told}, and the prompt's picture {script.names[source]} is {_text(size)}, width x height. "
            "This judge was trained on edits of the size of their source: scale or crop them to it."
        )


def _text(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
