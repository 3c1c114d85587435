"""Download of a medium from an allowed host, within bounds of size and time."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import time
import urllib.request
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from .error_texts import shorten
from .errors import LimitError, MediaError, YojError

PIECE = 64 * 1024
PORTS = {"http": 80, "https": 443}


def fetch(url: str, hosts: frozenset[str], name: str, max_bytes: int, timeout: float) -> bytes:
    """Download the content of a URL. Proxies are not used; redirects are followed to hosts that are allowed.

    Args:
        url: address with the scheme http or https.
        hosts: allowed hosts; see `yoj.runtime.sources.Policy`.
        name: name of the medium in errors.
        max_bytes: most bytes that are read.
        timeout: seconds for all of it.

    Raises:
        MediaError: the host is not allowed, has a private address, or does not answer with a medium in time.
        LimitError: the content has more than ``max_bytes``.
    """
    told = f"{name}, {shorten(url)!r}"
    check_url(url, hosts, told)

    class Redirects(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
            check_url(newurl, hosts, f"{told}, is a redirect to {shorten(newurl)!r}, which")
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), Redirects, _Http, _Https)
    deadline = time.monotonic() + timeout
    try:
        with opener.open(url, timeout=timeout) as answer:
            content = bytearray()
            while piece := answer.read1(PIECE):
                content += piece
                if len(content) > max_bytes:
                    raise LimitError(
                        f"{told} has more than {max_bytes:,} bytes, which are the limit. Give a smaller one."
                    )
                if time.monotonic() > deadline:
                    raise MediaError(f"{told} took longer than {timeout:g} s. Fetch it before, and give a file.")
    except HTTPError as error:
        raise MediaError(f"{told}: the host answers {error.code} {error.reason}. Check the URL.") from error
    except YojError:
        raise
    except (http.client.HTTPException, OSError, ValueError) as error:
        why = error.reason if isinstance(error, URLError) else error
        raise MediaError(f"{told} cannot be fetched: {why}. Check the URL, or give a file.") from error
    return bytes(content)


def check_url(url: str, hosts: frozenset[str], told: str) -> None:
    """Refuse a URL whose host is not allowed.

    Raises:
        MediaError: the host is not allowed; the text says how to allow it.
    """
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port or PORTS.get(parts.scheme)
    except ValueError as error:
        raise MediaError(f"{told} is no URL: {error}.") from error
    if parts.scheme not in PORTS or not host or "@" in parts.netloc:
        raise MediaError(f"{told} is no URL of the form https://host/path. Give one, or a file.")
    if _is_link_local(host):  # where machines of clouds ask for their credentials
        raise MediaError(f"{told} has a link-local address, from which nothing is ever fetched. Give a file.")
    allowed = {one.lower().rstrip(".") for one in hosts}
    shown = f"[{host}]" if ":" in host else host
    if not ({host, shown} & allowed and port == PORTS[parts.scheme]) and f"{shown}:{port}" not in allowed:
        wanted = shown if port == PORTS[parts.scheme] else f"{shown}:{port}"
        raise MediaError(
            f"{told} is on the host {shorten(wanted, 60)}, from which nothing may be fetched. Give a file, or allow "
            f"the host: --allow-host {shorten(wanted, 60)}."
        )


def _is_link_local(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_link_local


def _check_peer(host: str, connected: socket.socket) -> None:
    """Refuse a host name that leads into the private network.

    The address is that of the connection, not of an earlier look-up.
    """
    address = ipaddress.ip_address(str(connected.getpeername()[0]).partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    if (mapped or address).is_global and not (mapped or address).is_multicast:
        return
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        connected.close()
        raise ConnectionError(
            f"{host} has the address {address}, which is no public one; where that is meant, write the address into "
            "the URL and allow it"
        ) from None


class _HttpConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        super().connect()
        _check_peer(self.host, self.sock)


class _HttpsConnection(http.client.HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        _check_peer(self.host, self.sock)


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_HttpConnection, req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_HttpsConnection, req)
