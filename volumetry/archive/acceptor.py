"""The server behind `receive`: who has not greeted holds no association, and no peer decides how much is buffered.

pynetdicom gives every TCP connection an association and reads whatever length a PDU announces. Here a connection
first has a few seconds for the head of an A-ASSOCIATE-RQ; one that closes or stays silent, as a load balancer's
probe does, costs a thread for that long. Lengths are capped before anything is read (DICOM PS3.8, 9.3).
"""

import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from volumetry.errors import UsageError

GREETING_S = 5.0
"""Within which a connection must send the head of an A-ASSOCIATE-RQ, with TLS after its handshake."""
PDU_S = 60.0
"""Within which a PDU that has begun must have come."""
MOST_PDU_BYTES = 1 << 20
"""Of one PDU. We announce far less for data; an A-ASSOCIATE-RQ with every context is some 50 kB."""
MOST_OBJECT_BYTES = 2 << 30
"""Of one object on its way in, which pynetdicom holds in memory."""
MOST_SILENT = 64
"""Connections that have not greeted; more are closed at once."""

_A_ASSOCIATE_RQ = 0x01
_PDU_HEAD = 6


class _Socket(AssociationSocket):
    """Reads no more than the caps, and not for longer than `PDU_S`."""

    received = 0
    """Bytes since the last whole object."""

    def recv(self, nr_bytes: int) -> bytearray:
        """The bytes of a PDU's head or body; fewer if the connection was closed.

        Raises
        ------
        OSError
            If they are too many or take too long; pynetdicom then closes the connection.
        """
        self.received += nr_bytes
        if nr_bytes > MOST_PDU_BYTES or self.received > MOST_OBJECT_BYTES:
            raise OSError("more than this node takes")
        connection = cast(socket.socket, self.socket)
        until, data = time.monotonic() + PDU_S, bytearray()
        while len(data) < nr_bytes:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError("a PDU did not end")
            connection.settimeout(left)
            part = connection.recv(min(65536, nr_bytes - len(data)))
            if not part:
                break
            data += part
        connection.settimeout(PDU_S)
        return data


class _Handler(RequestHandler):
    def _create_association(self) -> Association:
        association = super()._create_association()
        # A second socket object would announce the connection twice.
        cast(Any, association.dul.socket).__class__ = _Socket
        return association


class _Server(ThreadedAssociationServer):
    """Takes connections in threads of their own and makes an association of those that greet."""

    daemon_threads = True
    request_queue_size = 128

    # One for all nodes of a process: what it limits are threads.
    silent = threading.BoundedSemaphore(MOST_SILENT)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept only: a handshake here would keep everybody else waiting."""
        connection, address = cast(socket.socket, self.socket).accept()
        return connection, address

    def process_request_thread(self, request: socket.socket, client_address: tuple[str, int]) -> None:  # type: ignore[override]
        """Wait for a greeting, then hand over; close what does not greet."""
        if not self.silent.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            greeted = self._greeted(request)
        finally:
            self.silent.release()
        if greeted is None:
            self.shutdown_request(request)
        else:
            super().process_request_thread(greeted, client_address)

    def _greeted(self, request: socket.socket) -> socket.socket | None:
        """The connection, encrypted if it must be, once it may become an association."""
        try:
            request.settimeout(GREETING_S)
            if self.ssl_context is not None:
                # What follows is from one who has the key, if callers must have one; TLS lets nobody look ahead.
                return self.ssl_context.wrap_socket(request, server_side=True)
            return request if _begins_an_association(request) else None
        except (OSError, ssl.SSLError, ValueError):
            return None


def _begins_an_association(request: socket.socket) -> bool:
    """Whether the head of an A-ASSOCIATE-RQ of acceptable length comes in time; it stays in the socket."""
    until = time.monotonic() + GREETING_S
    while time.monotonic() < until:
        head = request.recv(_PDU_HEAD, socket.MSG_PEEK)
        if not head or head[0] != _A_ASSOCIATE_RQ:
            return False
        if len(head) == _PDU_HEAD:
            return int.from_bytes(head[2:], "big") <= MOST_PDU_BYTES
        time.sleep(0.05)  # a part of six bytes: the rest is on its way
    return False


def object_received(association: Association) -> None:
    """An object is whole: count its successor's bytes from here."""
    if isinstance(association.dul.socket, _Socket):
        association.dul.socket.received = 0


@contextmanager
def listening(
    ae: ApplicationEntity, address: tuple[str, int], tls: ssl.SSLContext | None, handlers: list[Any]
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
            evt_handlers=handlers,
            server_class=_Server,
            request_handler=_Handler,
        )
    except OSError as taken:
        message = f"port {address[1]} cannot be used: {taken.strerror}"
        raise UsageError(message, hint="Give another port by --port.") from taken
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
