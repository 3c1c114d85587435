"""Judge behind HTTP: a `yoj-serve http` of any machine."""

from __future__ import annotations

import http.client
import logging
import random
import re
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NoReturn, cast
from urllib.parse import urlsplit

import msgspec

from yoj.runtime import (
    EngineError,
    EngineMemoryError,
    Judgement,
    LengthError,
    LimitError,
    MediaError,
    Request,
    RequestError,
    YojError,
)
from yoj.runtime.codec import decode_judgement
from yoj.runtime.error_texts import shorten

from ._kinds import is_fields, is_list
from ._wire import RequestForm

log = logging.getLogger("yoj.integrations")

ERRORS: dict[str, type[YojError]] = {
    "length": LengthError,
    "limit": LimitError,
    "media": MediaError,
    "request": RequestError,
    "engine": EngineError,
    "memory": EngineMemoryError,
}
"""Type of an error of the server -> its class here; all others are `RemoteError`."""
BUSY = (429, 503)
"""Codes of what may succeed later."""
HOPELESS = (401, 403, 404, 405)
"""Statuses of a wrong address or key, which no request of this process will get past."""
FORM_REQUESTS, FORM_BYTES = 16, 8 * 2**20
"""Most requests of one call, and bytes of media beyond which it takes no more."""
FIRST_WAIT, LONGEST_WAIT = 0.25, 8.0
"""Seconds before the second try, which double with each, and their bound, unless the server names more."""
ADDRESS = "Give the address of a running yoj-serve http, without a route, such as http://HOST:PORT."
FIRST_CONTACT = 30.0
"""Seconds for which a server that never answered is asked: it may be starting, or the address be wrong."""


class RemoteError(YojError, OSError):
    """Server of a judge that did not answer, or not with judgements."""

    # Errors are made again from their text alone where they cross processes.
    def __init__(self, text: str, code: int | None = None):
        super().__init__(text)
        self.code = code
        """Status that the server gave; None where it gave none."""


@dataclass
class _Contact:
    """Contact with a server."""

    made: bool = False
    """Whether it ever answered, or took a request and all the time there was: the address may be right."""


@dataclass(frozen=True)
class RemoteJudge:
    """Judge that a `yoj-serve http` serves; see `GroupReward`. Safe to use from several threads; can be pickled.

    >>> RemoteJudge("http://127.0.0.1:8000").score_batch([Request("Why?", ["So.", "No."])], on_error="return")
    """

    url: str
    """Address of the server, without a route."""
    timeout: float = 300.0
    """Seconds in which the requests of one call must be scored, all tries together: a full queue and a server that
    starts again are waited for as long. One that never answered is given up after 30 s."""
    key: str | None = field(default=None, repr=False)
    """API key of the server; None for none."""
    _contact: _Contact = field(default_factory=_Contact, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the address, the time and the key.

        Raises:
            RequestError: one of them cannot be. The text has no key and no password.
        """
        _check_address(self.url)
        time_out: object = self.timeout
        if isinstance(time_out, bool) or not isinstance(time_out, int | float) or not 0 < time_out < float("inf"):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise RequestError(f"timeout is {time_out!r}; give seconds above 0.")
        if self.key is not None:
            _check_key(self.key)

    def score_batch(
        self, requests: Sequence[Request], *, on_error: Literal["return"] = "return"
    ) -> list[Judgement | YojError]:
        """Score requests, in calls of a few; see `JudgeLike.score_batch`.

        Raises:
            RemoteError: the address or the key is wrong, or the server never answered.
        """
        if on_error != "return":
            raise RequestError(f"on_error is {on_error!r}; a server returns errors: give 'return'.")
        end = time.monotonic() + self.timeout
        results: dict[int, Judgement | YojError] = {}
        form, places = RequestForm(), list[int]()
        for place, request in enumerate(requests):
            try:
                form.add(request)
            except YojError as error:
                results[place] = error
                continue
            places.append(place)
            if len(places) == FORM_REQUESTS or form.size >= FORM_BYTES:
                results |= zip(places, self._answers(form, len(places), end), strict=True)
                form, places = RequestForm(), list[int]()
        if places:
            results |= zip(places, self._answers(form, len(places), end), strict=True)
        return [
            replace(one, metadata=request.metadata) if isinstance(one := results[place], Judgement) else one
            for place, request in enumerate(requests)
        ]

    def _answers(self, form: RequestForm, count: int, end: float) -> list[Judgement | YojError]:
        """Answers to a form, which is sent again as long as the server is busy or away.

        Raises:
            RemoteError: the address or the key is wrong, or the server never answered.
        """
        body, content_type = form.encode()
        wait, told = FIRST_WAIT, ""
        patience = min(end, time.monotonic() + FIRST_CONTACT)
        while (left := self._left(end, patience)) > 0:
            pause, waited = wait, bool(told)
            try:
                status, retry_after, text = self._post(body, content_type, end - time.monotonic(), left)
            except (OSError, http.client.HTTPException) as error:
                self._check_passing(error)
                told = f"{type(error).__name__}: {error}"
            else:
                results = self._read(status, text, count)
                if not any(_is_busy(one) for one in results):
                    return results
                told = str(next(one for one in results if _is_busy(one)))
                pause = max(wait, retry_after)
            left = max(0.0, self._left(end, patience))
            if not waited and left:
                log.warning("%s: %s. It is asked again for up to %.1f s.", self.url, shorten(told, 300), left)
            # Ranks that were turned away together must not come back together.
            time.sleep(min(pause * random.uniform(1, 1.5), left))
            wait = min(2 * wait, LONGEST_WAIT)
        if told and not self._contact.made:
            raise RemoteError(f"{self.url} never answered; the last try: {shorten(told, 300)}. {ADDRESS}")
        gone = RemoteError(
            f"{self.url} did not score {count} requests within {self.timeout:g} s; the last try: "
            f"{shorten(told or 'there was no time for one', 300)}. Look at the server's log, or give a longer timeout."
        )
        return [gone] * count

    def _left(self, end: float, patience: float) -> float:
        """Seconds left until one of two times: the end, or an earlier one for a server that was never reached."""
        return (end if self._contact.made else patience) - time.monotonic()

    def _check_passing(self, error: Exception) -> None:
        """Check that a failure may pass by itself.

        Raises:
            RemoteError: it will not.
        """
        if isinstance(error, ssl.SSLCertVerificationError):
            raise RemoteError(f"{self.url}: {error}. Give a server whose certificate this machine trusts.") from error
        if self._contact.made:
            return
        if isinstance(error, socket.gaierror):
            raise RemoteError(f"{self.url}: the name of the host is not known here ({error}). {ADDRESS}") from error
        if isinstance(error, ssl.SSLError):
            raise RemoteError(
                f"{self.url} does not speak TLS ({error}). Give http:// where the server has no certificate."
            ) from error

    def _post(self, body: bytes, content_type: str, seconds: float, patience: float) -> tuple[int, float, bytes]:
        """Status, seconds after which to try again, and body of the answer.

        Args:
            body: form.
            content_type: its type.
            seconds: time for all.
            patience: time for the connection alone.

        Raises:
            OSError: the server could not be reached, or did not answer.
            http.client.HTTPException: it did not answer in HTTP.
        """
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        headers = {"Content-Type": content_type, "X-Request-Timeout": f"{seconds:.3f}"}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        connection = kind(cast("str", parts.hostname), parts.port, timeout=patience)
        try:
            connection.connect()
            connection.sock.settimeout(seconds)
            try:
                connection.request("POST", f"{parts.path.rstrip('/')}/v1/judge/batch", body, headers)
                answer = connection.getresponse()
                text = answer.read()
            except TimeoutError:
                self._contact.made = True
                raise
            self._contact.made = True
            after = answer.headers.get("retry-after") or ""
            return answer.status, float(after) if after.isdecimal() else 0.0, text
        finally:
            connection.close()

    def _read(self, status: int, text: bytes, count: int) -> list[Judgement | YojError]:
        """Read an answer: one entry for each request.

        Raises:
            RemoteError: the address or the key is wrong.
        """
        try:
            found = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            found = None
        fields: Mapping[str, Any] = found if is_fields(found) else {}
        if status != 200:
            told = fields.get("error") or {"message": f"status {status}", "code": status}
            if status in HOPELESS:
                self._give_up(status, told)
            return [self._error(told)] * count
        results = fields.get("results")
        if not is_list(results) or len(results) != count:
            given = f"{len(results)} results" if is_list(results) else shorten(repr(text[:80]), 100)
            error = RemoteError(f"{self.url} answers {given} to {count} requests; is it a yoj-serve?")
            return [error] * count
        return [self._one(one) for one in results]

    def _give_up(self, status: int, told: Any) -> NoReturn:
        text = shorten(str(told.get("message") if is_fields(told) else told), 300)
        route = urlsplit(self.url).path.strip("/")
        fix = "Give the server's key." if status in (401, 403) else ADDRESS
        if route and status not in (401, 403):
            fix = f"Leave the route out, here '/{route}', unless a proxy wants it: its routes are found without it."
        raise RemoteError(f"{self.url} answers {status}: {text.rstrip('.')}. {fix}")

    def _one(self, fields: Any) -> Judgement | YojError:
        if is_fields(fields) and "error" in fields:
            return self._error(fields["error"])
        try:
            return decode_judgement(fields)
        except msgspec.ValidationError as error:
            return RemoteError(f"{self.url} answers what is no judgement: {error}. Use the same version of yoj there.")

    def _error(self, fields: Any) -> YojError:
        told: Mapping[str, Any] = fields if is_fields(fields) else {"message": fields}
        text, code = str(told.get("message")), told.get("code")
        kind = None if code in BUSY else ERRORS.get(str(told.get("type")))
        return RemoteError(f"{self.url}: {text}", code) if kind is None else kind(text)


def _check_address(url: object) -> None:
    """Check an address.

    Raises:
        RequestError: it is none, or has more than a scheme, a host, a port and a path; no secret is repeated.
    """
    text = url if isinstance(url, str) else ""
    for sign, what in (("@", "a user or a password; give key=..."), ("?", "a query"), ("#", "a fragment")):
        if sign in text:
            raise RequestError(f"The address of a server has a {sign!r}, as of {what}; give http://HOST:PORT alone.")
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
        right = parts.scheme in ("http", "https") and host and host.encode("idna") and parts.port != 0
    except ValueError:
        right = False
    if not right or not text.isprintable() or " " in text:
        raise RequestError(
            f"{shorten(repr(url), 200)} is no address of a server; give http://HOST:PORT or https://HOST:PORT."
        )


def _check_key(key: object) -> None:
    """Check that a key can stand in a header.

    Raises:
        RequestError: it cannot; it is not repeated.
    """
    if isinstance(key, str) and re.fullmatch(r"[!-~]([ -~]*[!-~])?", key):
        return
    what = "has spaces around it, a line break, or what is no printable ASCII"
    if not isinstance(key, str) or not key:
        what = "is empty" if key == "" else f"is of the type {type(key).__name__}"
    raise RequestError(f"The key {what}; give that of the server as text, such as Path(file).read_text().strip().")


def _is_busy(result: Judgement | YojError) -> bool:
    return isinstance(result, RemoteError) and result.code in BUSY
