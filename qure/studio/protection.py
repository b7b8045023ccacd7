"""Who may ask and who may write, and headers that keep other people's texts inert.

The page is for one machine or one team, without accounts. What a foreign web page could do through a visitor's browser
is refused: asking under another name for this machine (DNS rebinding) by `Host`, writing by `Origin`.
"""

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("localhost", "127.0.0.1", "::1")

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_READING = ("GET", "HEAD")


class Protection:
    """Refuses foreign hosts and foreign writers before anything else is done; adds the headers.

    Args:
        app: what is protected.
        hosts: names under which the page may be asked for.
        read_only: refuse every write.
    """

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str], read_only: bool = False) -> None:
        self._app, self._read_only = app, read_only
        self._hosts = frozenset(host.strip("[]").lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refused = self._refusal(scope)
        if refused is None:
            await self._app(scope, receive, send_with_headers)
        else:
            await PlainTextResponse(refused, status_code=403)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if name_of(host) not in self._hosts:
            return f"This page is not served under the name {name_of(host)!r}. Start it with --allow-host."
        if scope["method"] in _READING:
            return None
        if self._read_only:
            return "This page only shows: nothing is taken."
        origin = headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
        if foreign or headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return "This was sent from another page, and is refused."
        return None


def name_of(host: str) -> str:
    """The name in a `Host` header, without port and brackets.

    >>> name_of("127.0.0.1:8765"), name_of("[::1]:80"), name_of("Studio.example")
    ('127.0.0.1', '::1', 'studio.example')
    """
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0"), is_loopback("studio.example")
    (True, True, False, False)
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
