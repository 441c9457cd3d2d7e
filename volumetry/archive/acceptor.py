"""The server behind `receive`: only a whole request gets an association, and no peer decides how much is buffered.

pynetdicom gives every TCP connection an association and reads whatever length a PDU announces. Here a connection
first has a few seconds in all to send its A-ASSOCIATE-RQ; one that closes or stays silent, as a load balancer's
probe does, costs a thread for that long. Lengths are capped before anything is read (DICOM PS3.8, 9.3).
`volumetry.archive.associations` limits what the associations hold together.
"""

import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from volumetry.archive.associations import MOST_PDU_BYTES, Limits, admit, read
from volumetry.archive.tls import why_refused
from volumetry.errors import UsageError

GREETING_S = 5.0
"""Within which a connection must send its A-ASSOCIATE-RQ, with TLS after its handshake."""
MOST_SILENT = 64
"""Connections that have not sent it; for one more the oldest is closed."""

OnRefused = Callable[[str, str], None]
"""Told the address of a caller whose TLS was refused, and why."""

_A_ASSOCIATE_RQ = 0x01
_PDU_HEAD = 6


class _Handler(RequestHandler):
    def __init__(self, request: tuple[socket.socket, bytes], client_address: object, server: "_Server") -> None:
        connection, self._already_read = request
        super().__init__(connection, client_address, server)

    def _create_association(self) -> Association:
        association = super()._create_association()
        admit(association, cast(_Server, self.server).limits, self._already_read)
        return association


class _Silent:
    """Connections that have not asked for an association yet, the oldest first."""

    def __init__(self) -> None:
        self._connections: dict[socket.socket, None] = {}
        self._lock = threading.Lock()

    def add(self, connection: socket.socket) -> None:
        """One more; beyond `MOST_SILENT`, the oldest reads the end of its connection."""
        with self._lock:
            self._connections[connection] = None
            if len(self._connections) > MOST_SILENT:
                oldest = next(iter(self._connections))
                del self._connections[oldest]
                with suppress(OSError):
                    socket.socket.shutdown(oldest, socket.SHUT_RDWR)  # of TLS as well, which its thread still uses

    def remove(self, connection: socket.socket) -> bool:
        """Whether it was not closed meanwhile."""
        with self._lock:
            return self._connections.pop(connection, self) is None


class _Server(ThreadedAssociationServer):
    """Takes connections in threads of their own and makes an association of those that greet."""

    daemon_threads = True
    request_queue_size = 128

    # One for all nodes of a process: what it limits are threads.
    silent = _Silent()

    on_refused: OnRefused
    limits: Limits

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept only: a handshake here would keep everybody else waiting."""
        connection, address = cast(socket.socket, self.socket).accept()
        return connection, address

    def process_request_thread(self, request: socket.socket, client_address: tuple[str, int]) -> None:  # type: ignore[override]
        """Wait for an A-ASSOCIATE-RQ, then hand over; close what does not send it."""
        try:
            if self.ssl_context is not None:
                request = self.ssl_context.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
            self.silent.add(request)
            try:
                asked = _request_of(request)
            finally:
                in_time = self.silent.remove(request)
            if asked and in_time:
                _Handler((request, asked), client_address, self)
                return
        except ssl.SSLError as wrong:
            if why := why_refused(wrong):
                self.on_refused(str(client_address[0]), why)
        except (OSError, ValueError):  # closed, or too slow
            pass
        except Exception:  # noqa: BLE001  one connection, never the node
            self.handle_error(request, client_address)
        self.shutdown_request(request)


def _request_of(connection: socket.socket) -> bytes:
    """The A-ASSOCIATE-RQ with which a connection begins; empty if it begins otherwise."""
    connection.settimeout(GREETING_S)
    if isinstance(connection, ssl.SSLSocket):
        connection.do_handshake()  # the timeout holds for all of it
    until = time.monotonic() + GREETING_S
    head = read(connection, _PDU_HEAD, until)
    length = int.from_bytes(head[2:], "big")
    if len(head) < _PDU_HEAD or head[0] != _A_ASSOCIATE_RQ or length > MOST_PDU_BYTES:
        return b""
    body = read(connection, length, until)
    return bytes(head + body) if len(body) == length else b""


@contextmanager
def listening(
    ae: ApplicationEntity,
    address: tuple[str, int],
    tls: ssl.SSLContext | None,
    handlers: list[Any],
    on_refused: OnRefused,
    limits: Limits,
) -> Iterator[int]:
    """Serve associations of `ae` in the background.

    Yields
    ------
    int
        The port.

    Raises
    ------
    UsageError
        If the port cannot be used.
    """
    try:
        server = ae.make_server(
            address,
            ssl_context=tls,
            evt_handlers=[*handlers, *limits.handlers],
            server_class=_Server,
            request_handler=_Handler,
        )
    except OSError as taken:
        message = f"port {address[1]} cannot be used: {taken.strerror}"
        raise UsageError(message, hint="Give another port by --port.") from taken
    cast(_Server, server).on_refused, cast(_Server, server).limits = on_refused, limits
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        for association in server.active_associations:
            with suppress(Exception):
                association.abort()
        socketserver.BaseServer.shutdown(server)  # pynetdicom's own wants a server that it started itself
        server.server_close()
        thread.join()
