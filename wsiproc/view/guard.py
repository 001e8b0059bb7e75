"""Who may see the page: whoever has its address, on this machine."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS: Final = {
    # Nothing is loaded but from here, nothing inline is run, and nothing may frame the page.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    # The address holds the token.
    "referrer-policy": "no-referrer",
    # Pixels of a patient's slide do not stay in a browser's cache on the disk.
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Guarded:
    """An application behind a token, for names of this machine alone.

    A page elsewhere may let its own name point at 127.0.0.1, and would then be of one origin with
    this server: so the name that was asked for counts too.

    Parameters
    ----------
    app
        What is guarded.
    token
        The first part of every path.
    hosts
        Names under which the server may be asked for.
    """

    app: ASGIApp
    token: str
    hosts: Iterable[str] = ("127.0.0.1", "localhost")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may pass."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", ()), *own]
            await send(message)

        host = Headers(scope=scope).get("host", "").rsplit(":", 1)[0]
        given = scope["path"].split("/", 2)[1]
        # In the same time whatever is given.
        known = secrets.compare_digest(given.encode(), self.token.encode())
        if host not in self.hosts or not known:
            answer = PlainTextResponse("Open the address that `wsiproc view` printed.\n", 403)
            await answer(scope, receive, dressed)
            return
        await self.app({**scope, "root_path": f"/{self.token}"}, receive, dressed)
