"""What the open associations of a node may hold in memory together, and which of them gives way to another.

pynetdicom holds an object in memory until it is whole and stored, and keeps a silent association for a minute. The
bytes of all objects on their way in are therefore counted before they are read. If they would be too many, the
association with the largest unfinished object is closed, so that a sender of single slices goes on. If all
associations are in use, the one that has been silent longest is closed for the next caller.
"""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_CANCEL_RQ
from pynetdicom.transport import AssociationSocket

if TYPE_CHECKING:
    from pynetdicom.dimse_primitives import DimseServiceType
    from pynetdicom.events import Event

PDU_S = 60.0
"""Within which a PDU that has begun must have come."""
MOST_PDU_BYTES = 1 << 20
"""Of one PDU. We announce far less for data; an A-ASSOCIATE-RQ with every context is some 50 kB."""
SILENT_S = 5.0
"""An association from which nothing has come for so long gives way to another, if all are in use."""
STALLED_S = 20.0
"""The same in the middle of an object: a slow network may pause."""
CLOSING_S = 10.0
"""Within which an association that was closed must have ended."""

OnClosed = Callable[[str, str], None]
"""Told the AE title of a sender whose association was closed, and why."""


class Limits:
    """Over all associations of a node.

    Parameters
    ----------
    most_bytes
        Of all objects on their way in.
    on_closed
        Told of every association that is closed for one of the limits.
    """

    def __init__(self, most_bytes: int, on_closed: OnClosed) -> None:
        self._most_bytes = most_bytes
        self._on_closed = on_closed
        self._counting = threading.Lock()
        self._admitting = threading.Lock()
        self.handlers: list[Any] = [(evt.EVT_REQUESTED, self._requested), (evt.EVT_DIMSE_RECV, _is_whole)]

    def take(self, link: "Link", nr_bytes: int) -> None:
        """Count bytes that are to be read; the association with the largest unfinished object may give way.

        Raises
        ------
        OSError
            If it is this one.
        """
        while True:
            with self._counting:
                if link.closed:
                    raise OSError("closed for another association")
                links = _links_beside(link.assoc)
                if sum(each.held for each in links) + nr_bytes <= self._most_bytes:
                    link.held += nr_bytes
                    return
                closed = next((each for each in links if each.closed), None)
                if closed is None:
                    # What is whole is being stored, and soon released.
                    closed = max(
                        (each for each in links if not each.whole),
                        key=lambda each: each.held + nr_bytes * (each is link),
                        default=link,
                    )
                    self._close(
                        closed,
                        f"the largest unfinished object, as objects of more than {self._most_bytes / 2**30:g} GB "
                        "in total were being received; to allow more, raise max_incoming_gb under [receive]",
                    )
            if closed is link or not _ended(closed):
                raise OSError("no memory for this object")

    def _requested(self, event: "Event") -> None:
        """Make room for a caller whom we would accept, if all associations are in use."""
        asking = event.assoc
        if not _is_welcome(asking):
            return
        with self._admitting:  # or two callers would count each other
            while len(_links_beside(asking)) > asking.ae.maximum_associations:
                with self._counting:
                    closed = self._silent_longest(asking)
                if closed is None or not _ended(closed):
                    return  # pynetdicom asks the caller to come again

    def _silent_longest(self, asking: Association) -> "Link | None":
        links = [link for link in _links_beside(asking) if link.assoc.is_established]
        closing = next((link for link in links if link.closed), None)
        if closing is not None:
            return closing
        now = time.monotonic()
        silent = [
            link
            for link in links
            if not link.whole and now - link.last_s >= (STALLED_S if link.held else SILENT_S)
        ]
        if not silent:
            return None
        longest = min(silent, key=lambda link: link.last_s)
        most = asking.ae.maximum_associations
        self._close(longest, f"silent, while all {most} associations were in use and another was requested")
        return longest

    def _close(self, link: "Link", reason: str) -> None:
        link.closed = True
        with suppress(OSError, TypeError):  # it may have closed meanwhile
            # Its own threads read the end of the connection, and let go of the object; of TLS as well.
            socket.socket.shutdown(cast(socket.socket, link.socket), socket.SHUT_RDWR)
        self._on_closed(str(link.assoc.requestor.ae_title), reason)


class Link(AssociationSocket):
    """The connection of an association: reads no more than the limits, and not for longer than `PDU_S`."""

    limits: Limits
    request: bytes
    """What was read of the connection before it became an association."""
    held = 0
    """Bytes of the object on its way in, or being stored."""
    whole = False
    """It is being stored."""
    closed = False
    """For another association."""
    last_s: float
    """When something came last, or an answer was given."""

    @property
    def ready(self) -> bool:
        """Whether there is something to read; nothing before the last object is answered."""
        return not self.whole and (bool(self.request) or super().ready)

    def recv(self, nr_bytes: int) -> bytearray:
        """The bytes of a PDU's head or body; fewer if the connection was closed.

        Raises
        ------
        OSError
            If they are too many or take too long; pynetdicom then closes the connection.
        """
        if nr_bytes > MOST_PDU_BYTES:
            raise OSError("more than this node takes")
        connection = cast(socket.socket, self.socket)
        data, self.request = bytearray(self.request[:nr_bytes]), self.request[nr_bytes:]
        if len(data) < nr_bytes:
            self.limits.take(self, nr_bytes - len(data))
        data += read(connection, nr_bytes - len(data), time.monotonic() + PDU_S)
        connection.settimeout(PDU_S)
        self.last_s = time.monotonic()
        return data

    def answered(self) -> None:
        """The object is stored or refused: the next one may come."""
        self.held, self.last_s = 0, time.monotonic()
        self.whole = False


class _Limited(Association):
    """Tells its connection when an object was answered, and leaves none in memory when it ends."""

    def run(self) -> None:
        try:
            super().run()
        finally:  # or it stays there until the next garbage collection
            self.dimse.message = None
            self.dimse.msg_queue.queue.clear()

    def _serve_request(self, msg: "DimseServiceType", context_id: int) -> None:
        try:
            super()._serve_request(msg, context_id)
        finally:
            _link(self).answered()


def admit(association: Association, limits: Limits, request: bytes) -> None:
    """Put an association that begins under the limits.

    Parameters
    ----------
    association
        Not yet started.
    limits
        Of its node.
    request
        What was read of its connection before.
    """
    # New objects would announce the connection twice.
    cast(Any, association).__class__, cast(Any, association.dul.socket).__class__ = _Limited, Link
    link = _link(association)
    link.limits, link.request, link.last_s = limits, request, time.monotonic()


def read(connection: socket.socket, nr_bytes: int, until: float) -> bytearray:
    """So many bytes; fewer if the connection was closed, `TimeoutError` if they have not come by then."""
    data = bytearray()
    while len(data) < nr_bytes:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError("a PDU did not end")
        connection.settimeout(left)
        part = connection.recv(min(65536, nr_bytes - len(data)))
        if not part:
            break
        data += part
    return data


def _link(association: Association) -> Link:
    return cast(Link, association.dul.socket)


def _links_beside(association: Association) -> list[Link]:
    """Of all associations of its node that have not ended, its own included."""
    return [_link(each) for each in cast(Any, association)._server.active_associations]


def _is_whole(event: "Event") -> None:
    if not isinstance(event.message, C_CANCEL_RQ):  # pynetdicom serves all others, in turn
        _link(event.assoc).whole = True


def _is_welcome(asking: Association) -> bool:
    """Whether pynetdicom will accept its AE titles: no other caller costs anybody an association."""
    request = cast(Any, asking.requestor.primitive)
    callers = asking.ae.require_calling_aet
    return request.called_ae_title == asking.acceptor.ae_title.strip() and (
        not callers or request.calling_ae_title in callers
    )


def _ended(link: Link) -> bool:
    """Whether an association that was closed has let go of its object and its place."""
    link.assoc.join(CLOSING_S)
    return not link.assoc.is_alive()
