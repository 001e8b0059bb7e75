"""Serving a page to this machine until it is told to stop."""

from __future__ import annotations

import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import uvicorn

from wsiproc.errors import ConfigError
from wsiproc.view.app import app_of
from wsiproc.view.shown import Shown

LOOPBACK: Final = "127.0.0.1"


def serve(shown: Shown, *, port: int = 0, ready: Callable[[str], None]) -> None:
    """Serve until Ctrl-C, or SIGTERM; call it from the main thread.

    Parameters
    ----------
    shown, port
        See `serving`.
    ready
        Is told the address when the page can be opened.

    Raises
    ------
    ConfigError
        If the port is taken.
    """
    told = threading.Event()
    # Not KeyboardInterrupt: Python raises none in what a script began with `&`.
    before = {
        each: signal.signal(each, lambda _number, _frame: told.set())
        for each in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        with serving(shown, port=port) as address:
            ready(address)
            told.wait()
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def serving(shown: Shown, *, port: int = 0) -> Iterator[str]:
    """Serve from a thread, inside a ``with``; gives the address.

    Other machines cannot connect, and others on this one cannot guess the address.

    Parameters
    ----------
    shown
        What is shown; its slide is closed at the end.
    port
        Where; 0 takes one that is free.

    Raises
    ------
    ConfigError
        If the port is taken.
    """
    token = secrets.token_urlsafe(24)
    # Quiet: a log of requests would hold the token.
    config = uvicorn.Config(
        app_of(shown, token),
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    try:
        with _listening(port) as listening:
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
            thread.start()
            try:
                yield f"http://{LOOPBACK}:{listening.getsockname()[1]}/{token}/"
            finally:
                server.should_exit = True
                thread.join()
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
