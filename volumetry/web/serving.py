"""A free port of 127.0.0.1, the link to open, and the server's life."""

import socket
import webbrowser
from collections.abc import Callable
from contextlib import suppress

import uvicorn
from fastapi import FastAPI
from fastapi.responses import Response

from volumetry.errors import UsageError
from volumetry.web.guard import ENTER, Guard

LOOPBACK = "127.0.0.1"
_PATIENCE_S = 2
"""What is on the wire when the server ends is given up after so long: an upload, an answer nobody fetches."""


class LocalServer:
    """One FastAPI app behind its guard, on 127.0.0.1.

    Parameters
    ----------
    app
        Gets one more route, ``POST /stop``.
    port
        0 takes a free one.

    Raises
    ------
    UsageError
        If the port is taken.

    Attributes
    ----------
    link
        Opens the pages, once.
    """

    def __init__(self, app: FastAPI, port: int = 0) -> None:
        # Bound before anything else, so that the guard knows the port and nobody can take it in between.
        try:
            self._listener = socket.create_server((LOOPBACK, port))
        except OSError as taken:
            message = f"port {port} cannot be used: {taken.strerror}"
            raise UsageError(message, hint="Give another port by --port.") from taken
        self.port: int = self._listener.getsockname()[1]
        guard = Guard(app, self.port)
        self.address = f"http://{LOOPBACK}:{self.port}/"
        self.link = f"http://{LOOPBACK}:{self.port}{ENTER}?token={guard.token}"
        # No access log: it would hold the token. A body limit stands in every route that reads a body.
        config = uvicorn.Config(
            guard,
            log_level="error",
            access_log=False,
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=_PATIENCE_S,
        )
        self._server = uvicorn.Server(config)
        app.post("/stop", status_code=204, response_class=Response)(self.stop)

    def run(self) -> None:
        """Serve until stopped; closes the port."""
        try:
            self._server.run(sockets=[self._listener])
        finally:
            self._listener.close()

    def stop(self) -> None:
        """Ask the server to end; `run` returns soon after."""
        self._server.should_exit = True


def new_app() -> FastAPI:
    """An app without the documentation pages, which would load scripts from elsewhere."""
    return FastAPI(docs_url=None, redoc_url=None, openapi_url=None)


def run_and_open(server: LocalServer, say: Callable[[str], None], open_browser: bool) -> None:
    """Say where the page is, open it if asked to, and serve until stopped."""
    say(f"open {server.link}")
    say("The link works once, on this machine alone. Ctrl-C or the page's Stop button ends it.")
    if open_browser:
        webbrowser.open(server.link)  # the port listens already: the browser waits until the server answers
    with suppress(KeyboardInterrupt):  # Ctrl-C is the usual way to end it
        server.run()
