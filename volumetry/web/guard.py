"""Who may ask: every request passes here before any route sees it.

A server on 127.0.0.1 is reached by every page of the user's browser and by every user of the machine. So a request
must name our own address (no DNS rebinding), carry the cookie that a one-time token was exchanged for, and, where
it changes something, come from our own page with its CSRF token.
"""

import hmac
import json
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

ENTER = "/enter"
SESSION = "/session.json"
_CHANGES_NOTHING = ("GET", "HEAD")

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""No inline script or style. ``data:`` and ``blob:`` images are NiiVue's own font."""

_HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}

# This page fetches the next one, not whoever showed the link: only so does a Strict cookie travel with it.
_ENTERED = (
    b'<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=/">'
    b'<link rel="icon" href="data:,"><title>volumetry</title><p><a href="/">Go on</a>'
)


class Guard:
    """ASGI middleware: address, token, cookie, origin, CSRF, and the headers of every answer.

    Parameters
    ----------
    app
        What is guarded.
    port
        The port that the server is bound to; other values of the Host header are refused.

    Attributes
    ----------
    token
        Opens the pages once; part of the link that is shown to the user.
    """

    def __init__(self, app: App, port: int) -> None:
        self.token = secrets.token_urlsafe(32)
        self._unused = True
        self._app = app
        self._hosts = {f"{name}:{port}".encode() for name in ("127.0.0.1", "localhost", "[::1]")}
        self._cookie_name = f"volumetry_{port}"  # cookies know no ports: two servers must not share one
        self._cookie = secrets.token_urlsafe(32)
        self._csrf = secrets.token_urlsafe(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, refuse, or pass on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":  # there are no web sockets here
            await self._http(scope, receive, _with_headers(send))

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: list[tuple[bytes, bytes]] = list(scope["headers"])
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            status, text = refusal
            await _answer(send, status, text.encode(), "text/plain; charset=utf-8")
        elif scope["path"] == ENTER:
            # One try: a second user of the same link, or of the browser's history, is refused.
            self._unused = False
            cookie = f"{self._cookie_name}={self._cookie}; HttpOnly; SameSite=Strict; Path=/"
            await _answer(send, 200, _ENTERED, "text/html; charset=utf-8", {"set-cookie": cookie})
        elif scope["path"] == SESSION:
            await _answer(send, 200, json.dumps({"csrf": self._csrf}).encode(), "application/json")
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope, headers: list[tuple[bytes, bytes]]) -> tuple[int, str] | None:
        hosts = _values(headers, b"host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return 400, "This server answers to its own local address only."
        if _values(headers, b"content-encoding"):
            return 415, "Compressed request bodies are not taken."
        if scope["path"] == ENTER:
            return None if self._opens(scope) else (403, "This link has been used or is wrong.")
        if not self._knows(headers):
            return 403, "Open the link that the command printed."
        if scope["method"] not in _CHANGES_NOTHING and not self._from_own_page(headers, hosts[0]):
            return 403, "This request did not come from volumetry's own page."
        return None

    def _opens(self, scope: Scope) -> bool:
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        return scope["method"] == "GET" and self._unused and _same(given, self.token)

    def _knows(self, headers: list[tuple[bytes, bytes]]) -> bool:
        for value in _values(headers, b"cookie"):
            try:
                cookie = SimpleCookie(value.decode("latin-1")).get(self._cookie_name)
            except CookieError:
                continue
            if cookie is not None and _same(cookie.value, self._cookie):
                return True
        return False

    def _from_own_page(self, headers: list[tuple[bytes, bytes]], host: bytes) -> bool:
        origin, csrf = _values(headers, b"origin"), _values(headers, b"x-csrf-token")
        same_origin = len(origin) == 1 and origin[0].lower() == b"http://" + host.lower()
        return same_origin and len(csrf) == 1 and _same(csrf[0].decode("latin-1"), self._csrf)


def _values(headers: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for key, value in headers if key.lower() == name]


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


def _with_headers(send: Send) -> Send:
    async def guarded(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            there = {key.lower() for key, _ in message.get("headers", [])}
            wanted = {"content-security-policy": PAGE_POLICY, **_HEADERS}
            more = [(k.encode(), v.encode()) for k, v in wanted.items() if k.encode() not in there]
            message = {**message, "headers": [*message.get("headers", []), *more]}
        await send(message)

    return guarded


async def _answer(
    send: Send, status: int, body: bytes, media_type: str, more: dict[str, str] | None = None
) -> None:
    headers = {"content-type": media_type, "content-length": str(len(body)), **(more or {})}
    raw = [(key.encode(), value.encode()) for key, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
