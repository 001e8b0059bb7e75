"""Serving a page to this machine until it is told to stop."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from typing import Final

import uvicorn

from wsiproc.errors import ConfigError
from wsiproc.view.app import app_of
from wsiproc.view.shown import Shown

LOOPBACK: Final = "127.0.0.1"


def serve(
    shown: Shown, *, port: int = 0, ready: Callable[[str], None] = lambda _: None
) -> None:
    """Serve until Ctrl-C; other machines cannot connect, others on this one need the address.

    Parameters
    ----------
    shown
        What is shown; its slide is closed at the end.
    port
        Where; 0 takes one that is free.
    ready
        Is told the address when the page can be opened.

    Raises
    ------
    ConfigError
        If the port is taken.
    """
    token = secrets.token_urlsafe(24)
    # Quiet: a log of requests would hold the token.
    config = uvicorn.Config(
        app_of(shown, token), log_level="error", access_log=False, server_header=False
    )
    with _listening(port) as listening:
        ready(f"http://{LOOPBACK}:{listening.getsockname()[1]}/{token}/")
        try:
            uvicorn.Server(config).run(sockets=[listening])
        except KeyboardInterrupt:
            pass
        finally:
            if shown.tiles is not None:
                shown.tiles.close()


def _listening(port: int) -> socket.socket:
    """A socket of this machine alone; connections wait in it until the server begins."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((LOOPBACK, port))
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"port {port} cannot be used ({error.strerror}): leave --port out, or give another"
        ) from None
    listening.listen()
    return listening
