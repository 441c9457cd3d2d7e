"""`receive`: a C-STORE node that measures a study when it has come in whole and sends the results back."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydicom import dcmread
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage

from volumetry.archive.earlier import part_of, result_folder
from volumetry.archive.extra import require_extra
from volumetry.archive.inbox import Arrival, Inbox
from volumetry.archive.outbox import Outbox
from volumetry.archive.refusals import Refusals, UnusableError, uid_of
from volumetry.archive.study_folders import Left, sweep
from volumetry.archive.syntaxes import can_be_uncompressed, kind_of, kinds_to_offer, uids_in, uncompressed
from volumetry.archive.tls import Tls
from volumetry.errors import InputError, OutputError, SegmentationError, UsageError, VolumetryError
from volumetry.storage.atomic import prepare_folder
from volumetry.storage.in_memory import can_be_swapped, require_in_memory

if TYPE_CHECKING:
    from pydicom import Dataset
    from pynetdicom.association import Association
    from pynetdicom.events import Event

SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xC000
_KIND_OF_STATUS, _NO_ANSWER = 0xF000, -1
"""Statuses from 0xC000 to 0xCFFF all say that the object was not understood (DICOM PS3.4, B.2.3)."""
_VERIFICATION = "1.2.840.10008.1.1"
_CT = (CTImageStorage, EnhancedCTImageStorage)  # the second so that it is refused in words
_POLL_S = 0.2
_CONNECT_S = 10.0
_AE_TITLE_LENGTH = 16
_IN_TRANSIT = "volumetry-incoming"

OnStudy = Callable[[Path], Sequence[Path]]
"""Called with a study's folder; gives the files to send back."""
SendBack = Callable[[Sequence[Path]], object]
"""Takes those files: `volumetry.archive.receive.store` or `volumetry.archive.dicomweb.push`, with an address."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A DICOM node to send to.

    Parameters
    ----------
    host, port, ae_title
        Its address and its application entity title.
    tls
        With it the association is encrypted, and made only if the node's certificate bears the name `host`.
    """

    host: str
    port: int
    ae_title: str
    tls: Tls | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """Who we are on the network, and what we take.

    Parameters
    ----------
    port
        0 takes a free one.
    ae_title
        Associations that call another title are refused.
    host
        127.0.0.1 by default: DICOM knows no login, so a wider address belongs behind a firewall.
    callers
        AE titles that may call; empty for all.
    quiet_s
        A study is whole when nothing of it has come for so long and its senders have left.
    max_instances
        Of one study.
    late_s
        Images that come within so long after their study was measured join it, and all of it is measured again.
    max_associations
        At a time; for one more, one that is silent is closed, or it is rejected, and its sender tries again.
    max_incoming_gb
        Of all objects being received, which are held in memory; beyond it the largest unfinished one is refused by
        closing its association.
    tls
        Then no caller is heard unencrypted.

    Raises
    ------
    UsageError
        If the AE title is not 1 to 16 ASCII characters (DICOM PS3.5 6.2, VR AE).
    """

    port: int = 11112
    ae_title: str = "VOLUMETRY"
    host: str = "127.0.0.1"
    callers: tuple[str, ...] = ()
    quiet_s: float = 10.0
    max_instances: int = 50_000
    late_s: float = 300.0
    max_associations: int = 10
    max_incoming_gb: float = 2.0
    tls: Tls | None = None

    def __post_init__(self) -> None:
        if not 0 < len(self.ae_title) <= _AE_TITLE_LENGTH or not self.ae_title.isascii():
            raise UsageError(f"an AE title has 1 to {_AE_TITLE_LENGTH} plain letters")


def receive(  # noqa: PLR0913  the command's own options
    node: Node,
    out: Path,
    on_study: OnStudy,
    send_back: SendBack | None = None,
    *,
    transit: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
    stop: threading.Event | None = None,
    on_ready: Callable[[int], None] = lambda _: None,
) -> None:
    """Receive studies, measure each when it is whole, send its results back; until stopped.

    Parameters
    ----------
    node
        Port, title, and when a study is whole.
    out
        Studies on their way in lie in ``out/incoming``; they are removed `Node.late_s` after they were measured
        or could not be, and at the next start if the node was killed. What could not be sent back waits in
        ``out/outbox``.
    on_study
        Measures a study's folder and gives the files to send back. A known stop costs its study alone.
    send_back
        Where they go; without it they stay where `on_study` wrote them.
    transit
        A folder in memory, in which studies lie on their way in instead of in ``out/incoming``.
    say
        Gets one line per event, without identity.
    stop
        Set to end.
    on_ready
        Called with the port that listens.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    UsageError
        If the port cannot be used.
    ConfigError
        If a certificate or key cannot be, or `transit` does not lie in memory.
    """
    if transit is not None:
        require_in_memory(transit)
        # A folder of our own: what killed nodes left in it is removed, and nothing beside it.
        transit = transit / _IN_TRANSIT
        prepare_folder(transit)
        if can_be_swapped(transit):
            say("the folder for images in transit lies in memory that this machine may swap to disk")
    prepare_folder(out)
    stop = stop or threading.Event()
    inbox, left = _new_inbox(node, out / "incoming", transit)
    refusals = Refusals()
    outbox = None if send_back is None else Outbox(out / "outbox", send_back)
    try:
        with _listening(node, inbox, refusals) as port:
            say(f"listening on {node.host}:{port} as {node.ae_title}{' with TLS' if node.tls else ''}")
            for line in (said for one in left for said in _said_of(one)):
                say(line)
            on_ready(port)
            while not stop.wait(_POLL_S):
                for study in inbox.whole():
                    answered, repeat = _measure(study, node, out, on_study, outbox, say)
                    wait_s = inbox.done(study, answered=answered, repeat=repeat)
                    if wait_s is not None:
                        say(f"its {study.instances} images are kept; measured again in {wait_s:g} s")
                for line in _happened(inbox, refusals, outbox):
                    say(line)
    finally:
        for line in refusals.lines(last=True):
            say(line)
        unmeasured = inbox.remove_all()
        if unmeasured:
            say(f"stopped with {unmeasured} images of studies not measured, now removed: send these again")


def store(peer: Peer, files: Sequence[Path], ae_title: str = "VOLUMETRY") -> int:
    """Send files by C-STORE, uncompressed where the node does not take the transfer syntax of a file.

    Parameters
    ----------
    peer
        Where to.
    files
        DICOM files.
    ae_title
        Our own application entity title.

    Returns
    -------
    int
        How many the peer has stored: all of them.

    Raises
    ------
    ConfigError
        If our own certificate or key cannot be used.
    OutputError
        If the peer cannot be reached or refuses any, or its certificate is not trusted.
    """
    require_extra("pynetdicom")
    from pynetdicom import AE

    ae = AE(ae_title=ae_title)
    ae.connection_timeout = _CONNECT_S
    for sop_class, syntax in kinds_to_offer(map(kind_of, files)):
        ae.add_requested_context(sop_class, syntax)  # one syntax each, or the peer may choose another
    tls = None if peer.tls is None else (peer.tls.for_calling(), peer.host)
    link = ae.associate(peer.host, peer.port, ae_title=peer.ae_title, tls_args=tls)
    if not link.is_established:
        raise OutputError("the DICOM node cannot be reached, or refuses us", "ARCHIVE", _HINT)
    try:
        for n, path in enumerate(files, start=1):
            status = _sent(link, path)
            if status is None:
                raise OutputError(f"the DICOM node takes no such object (file {n})", "ARCHIVE", _HINT)
            if status != SUCCESS:
                raise OutputError(f"the DICOM node refused file {n} of {len(files)}", "ARCHIVE", _HINT)
    finally:
        link.release()
    return len(files)


def _sent(link: "Association", path: Path) -> int | None:
    """What the peer answers to a file, at last to its uncompressed form; None if it takes no such object."""
    status = _answer(link, path)  # from the file: a held RLE dataset aborted the association
    understood = status is not None and status & _KIND_OF_STATUS != CANNOT_UNDERSTAND
    if not understood and can_be_uncompressed(kind_of(path)[1]):
        return _answer(link, uncompressed(dcmread(path)))
    return status


def _answer(link: "Association", file: "Path | Dataset") -> int | None:
    """Status of one C-STORE, -1 without an answer; None if no presentation context for it was accepted."""
    try:
        return int(getattr(link.send_c_store(file), "Status", _NO_ANSWER))
    except (ValueError, RuntimeError):
        return None


_HINT = "Check the node's host, port and AE title, that it knows ours, and whether it wants TLS."


def _new_inbox(node: Node, incoming: Path, transit: Path | None) -> tuple[Inbox, list[Left]]:
    """An inbox, and what killed nodes left, of a node with another setting as well."""
    elsewhere = [] if transit is None else [sweep(incoming)]
    inbox = Inbox(transit or incoming, node.quiet_s, node.max_instances, node.late_s)
    for left in elsewhere:
        inbox.adopt(left.incomplete)
    return inbox, [*elsewhere, inbox.left_by_killed]


def _said_of(left: Left) -> Iterator[str]:
    """What a killed node had received, and whether it must come again."""
    if left.answered:
        yield f"removed images of {left.answered} studies that a killed node had measured; their results are kept"
    if left.unanswered:
        came = f", received from {left.first} to {left.last}" if left.images else ""
        what = f"{left.images} images of {left.unanswered} studies that a killed node had not measured"
        yield f"removed {what}{came}: send these studies again"


def _happened(inbox: Inbox, refusals: Refusals, outbox: Outbox | None) -> Iterator[str]:
    """What was refused, removed or sent back since the last time."""
    yield from refusals.lines()
    for removed in inbox.expire():
        yield f"removed {removed.instances} images of a study that was not measured: send all of it again"
    if outbox is not None:
        yield from outbox.deliver()


def _measure(
    study: Arrival, node: Node, out: Path, on_study: OnStudy, outbox: Outbox | None, say: Callable[[str], None]
) -> tuple[bool, bool]:
    """Whether the study has its answer, results or a stated reason, and else whether it may have it later."""
    lacking = _lacking(study, node, out)
    if lacking:
        say(lacking)
        return False, False
    more = ", with images that came late" if study.again else ""
    say(f"a study is whole{more}: {study.instances} instances, quiet for {node.quiet_s:g} s; measuring")
    try:
        files = on_study(study.folder)
        if outbox is not None and files:
            outbox.add(files)
        say(f"measured; {len(files)} files written")
        return True, False
    except VolumetryError as known:
        say(f"not measured: {known.message} [{known.code}]")
        # The same images would be refused again; a full disk may have room later.
        return isinstance(known, InputError | SegmentationError), isinstance(known, OutputError)
    except Exception as bug:  # noqa: BLE001  a bug costs its own study, never the node; its text may hold values
        say(f"not measured: the program failed ({type(bug).__name__}) [INTERNAL_ERROR]")
        return False, isinstance(bug, OSError)


def _lacking(study: Arrival, node: Node, out: Path) -> str:
    """Why a study is not whole; empty if it is."""
    rest = f"within {node.late_s:g} s, or all of it again"
    if study.refused:
        reasons = ", ".join(f"{reason}: {n}" for reason, n in Counter(study.refused.values()).most_common())
        return (
            f"a study is incomplete: this node could not keep {len(study.refused)} images of it ({reasons}) and "
            f"has {study.instances}; it is not measured, an earlier result is kept: send those images {rest}"
        )
    if study.broken_off:
        return (
            f"a study was broken off after {study.instances} instances and is not measured: send the rest {rest}"
        )
    there = len(list(study.folder.glob("*.dcm")))
    if there < study.instances:
        gone = f"{study.instances - there} of {study.instances} images of a study are gone from its folder"
        return f"{gone}; it is not measured: send all of it again"
    result = result_folder(out, study.study)
    part = part_of(study.folder, result)
    if part is not None:
        return (
            f"a study is incomplete: {part.missing} of the {part.measured} images from which {result.name} was "
            f"measured have not come again, and {study.instances} have; it is not measured, the earlier result is "
            f"kept: send the rest {rest}; if there are no others, move {result.name} away and send these again"
        )
    return ""


@contextmanager
def _listening(node: Node, inbox: Inbox, refusals: Refusals) -> Iterator[int]:
    require_extra("pynetdicom")
    from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
    from pynetdicom.presentation import build_context

    from volumetry.archive.acceptor import listening
    from volumetry.archive.associations import Limits

    ae = AE(ae_title=node.ae_title)
    ae.maximum_associations = node.max_associations
    ae.require_called_aet = True
    ae.require_calling_aet = list(node.callers)
    ae.supported_contexts = [build_context(_VERIFICATION)]
    # Every kind of image: a sender gives up a whole study when one object of it finds no taker.
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)

    def stored(event: "Event") -> int:
        return _keep(event, inbox, refusals)

    def gone(event: "Event") -> None:
        inbox.left(id(event.assoc), properly=event.event is evt.EVT_RELEASED)

    handlers: list[Any] = [  # pynetdicom's own events do not pass its own annotations
        (evt.EVT_C_STORE, stored),
        (evt.EVT_RELEASED, gone),
        (evt.EVT_ABORTED, gone),
        (evt.EVT_CONN_CLOSE, gone),
    ]
    tls = None if node.tls is None else node.tls.for_callers()
    limits = Limits(int(node.max_incoming_gb * 2**30), refusals.count_closed)
    with listening(ae, (node.host, node.port), tls, handlers, refusals.count_caller, limits) as port:
        yield port


def _keep(event: "Event", inbox: Inbox, refusals: Refusals) -> int:
    """C-STORE: the bytes of a CT image to the disk as they came; only two UIDs are looked at.

    Other objects of the study are taken and thrown away: this node is not an archive.
    """
    if event.context.abstract_syntax not in _CT:
        return SUCCESS
    sender, study_uid = id(event.assoc), ""
    try:
        uids = uids_in(event.encoded_dataset(include_meta=False), event.context.transfer_syntax)
        study_uid = uid_of(uids, "StudyInstanceUID")
        instance_uid = uid_of(uids, "SOPInstanceUID")
    except Exception as unusable:  # noqa: BLE001  pydicom refuses a damaged dataset with anything
        reason = str(unusable) if isinstance(unusable, UnusableError) else "a dataset that cannot be read"
        refusals.count(str(event.assoc.requestor.ae_title), reason)
        if study_uid:  # its study is incomplete until the same instance comes with its UID
            inbox.refuse(sender, study_uid, str(getattr(event.request, "AffectedSOPInstanceUID", "")), reason)
        return CANNOT_UNDERSTAND
    try:
        kept = inbox.add(sender, study_uid, instance_uid, event.encoded_dataset())
    except Exception as wrong:  # noqa: BLE001  short of memory; pynetdicom would refuse it, and nobody count it
        inbox.refuse(sender, study_uid, instance_uid, type(wrong).__name__)
        return OUT_OF_RESOURCES
    return SUCCESS if kept else OUT_OF_RESOURCES
