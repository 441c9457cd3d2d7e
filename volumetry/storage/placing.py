"""A new result takes the place of an old one: a kill between any two system calls leaves the one or the other.

The new result is first made whole in a hidden folder. Where the system can exchange two folders in one call (Linux
on most local file systems) and nothing else lies in the result's folder, the two change places, and what was
replaced then moves to ``earlier/<n>/``. Elsewhere the files move one by one: the hidden folder first gets the name
``.placing`` in one step, and with it a plan; whoever comes next (`settle`) brings the moves to their
end, so that a reader or a run never meets half of each.
"""

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import secrets
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from volumetry.errors import OutputError
from volumetry.storage.atomic import next_numbered, prepare_folder, sync_folder, write_json
from volumetry.storage.unfinished import is_unfinished, unfinished_folder

EARLIER, PLACING, _PLAN = "earlier", ".placing", "plan.json"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2

Staying = Callable[[Path], Collection[str]]
"""Called with the new result, whole and still hidden; of the old one's names, those that stay beside it."""


def nothing_stays(_making: Path) -> Collection[str]:
    """Everything of the old result moves."""
    return ()


@contextlib.contextmanager
def new_result(folder: Path, names: Sequence[str], staying: Staying = nothing_stays) -> Iterator[Path]:
    """A hidden folder for a new result; at the end it takes the place of what is in `folder` under these names.

    Parameters
    ----------
    folder
        Made if missing. What is in it under other names stays where it is.
    names
        Of everything that belongs to one result; an old one goes to ``earlier/<n>/``, all of it.
    staying
        Asked right before anything moves; what stays is not touched.

    Yields
    ------
    Path
        The hidden folder, empty.

    Raises
    ------
    OutputError
        If it cannot be written; then the old result is still there.
    """
    prepare_folder(folder)
    settle(folder)
    try:
        with unfinished_folder(folder) as making:
            yield making
            stays = staying(making)
            moved = [name for name in names if name not in stays]
            if not _exchanged(making, folder.resolve(), set(moved)):
                _commit(making, folder, moved)
                _place(folder)
    except OSError as wrong:
        raise OutputError(f"cannot put the result into its place: {wrong.strerror}") from wrong


def settle(folder: Path) -> None:
    """Finish what a killed run began to move in a result's folder; also called before the folder is read.

    Parameters
    ----------
    folder
        A result's; may be missing.

    Raises
    ------
    OutputError
        If it cannot be done.
    """
    try:
        if (folder / PLACING).is_dir():
            with locked(folder / PLACING) as ours:
                if ours:
                    _place(folder)
        whole = folder.resolve()
        for replaced in sorted(whole.parent.glob(f".{_literal(whole.name)}.????????.replaced")):
            with locked(replaced) as ours:
                if ours:
                    _keep_replaced(replaced, whole)
    except OSError as wrong:
        raise OutputError(f"cannot finish what a killed run began to move: {wrong.strerror}") from wrong


# --- at once -----------------------------------------------------------------------------------------------


def _exchanged(making: Path, folder: Path, names: set[str]) -> bool:
    """Whether the two changed places; False, and nothing has changed, where they cannot."""
    if not _may_be_exchanged(making, folder, names):
        return False
    beside = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.replaced"
    try:
        _as_owned(making, folder)
        os.rename(making, beside)
    except OSError:  # the folder above is not ours, or on another file system
        return False
    if not exchange(beside, folder):
        os.rename(beside, making)
        return False
    # The new result is in its place: what fails now is left to the next run, which settles it.
    with contextlib.suppress(OSError):
        sync_folder(folder.parent)
    with contextlib.suppress(OSError), locked(beside) as ours:
        if ours:
            _keep_replaced(beside, folder)
    return True


def _may_be_exchanged(making: Path, folder: Path, names: set[str]) -> bool:
    """Whether all in the folder belongs to a result, and this process does not stand in it.

    What is itself being written needs no exchange, and would leave what it replaced beside it if it were killed.
    """
    if is_unfinished(folder.name):
        return False
    here = Path(os.getcwd()) if _cwd_exists() else Path("/")
    present = {path.name for path in folder.iterdir()} - {making.name}
    return present <= names | {EARLIER} and not here.is_relative_to(folder)


def _cwd_exists() -> bool:
    try:
        return bool(os.getcwd())
    except FileNotFoundError:
        return False


def _as_owned(making: Path, folder: Path) -> None:
    """Give a folder the mode and the group of the one whose place it takes."""
    wanted, has = folder.stat(), making.stat()
    if (wanted.st_uid, wanted.st_gid) != (has.st_uid, has.st_gid):
        os.chown(making, wanted.st_uid, wanted.st_gid)
    os.chmod(making, wanted.st_mode & 0o7777)


def exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one system call.

    Parameters
    ----------
    one, other
        On the same file system.

    Returns
    -------
    bool
        False, and nothing has changed, where the system cannot.
    """
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    done: int = call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    return done == 0


def _keep_replaced(replaced: Path, folder: Path) -> None:
    """Move what was replaced to ``earlier/<n>/``, below what had been replaced before it.

    A kill right before the exchange leaves the new result beside an old one, and this keeps it among the earlier
    ones: it was never seen. Where there was no old one it takes its place.
    """
    with contextlib.suppress(OSError):  # takes the place of an empty folder alone
        os.rename(replaced, folder)
        return
    history = replaced / EARLIER
    if history.is_dir():
        (folder / EARLIER).mkdir(mode=0o700, exist_ok=True)
        for number in sorted(history.iterdir(), key=lambda path: path.name):
            os.rename(number, folder / EARLIER / number.name)
        history.rmdir()
    with contextlib.suppress(OSError):  # there was nothing in it
        replaced.rmdir()
        return
    (folder / EARLIER).mkdir(mode=0o700, exist_ok=True)
    os.rename(replaced, next_numbered(folder / EARLIER))
    sync_folder(folder / EARLIER)


def _literal(name: str) -> str:
    return "".join(f"[{sign}]" if sign in "*?[" else sign for sign in name)


# --- one by one --------------------------------------------------------------------------------------------


def _commit(making: Path, folder: Path, names: Sequence[str]) -> None:
    """Write down what is to be moved, and let the folder be seen: after this there is no way back."""
    old = [name for name in names if (folder / name).exists()]
    plan = {
        "old": old,
        "aside": next_numbered(folder / EARLIER).name,
        "new": sorted(path.name for path in making.iterdir()),
    }
    write_json(making / _PLAN, plan)
    os.rename(making, folder / PLACING)
    sync_folder(folder)


def _place(folder: Path) -> None:
    """Do what is left of the plan: the same whether it was begun or not."""
    placing = folder / PLACING
    try:
        plan = json.loads((placing / _PLAN).read_bytes())
    except FileNotFoundError:  # all was done but the last step
        placing.rmdir()
        return
    aside = folder / EARLIER / plan["aside"]
    if plan["old"]:
        aside.mkdir(parents=True, mode=0o700, exist_ok=True)
    for name in plan["old"]:
        waits = name not in plan["new"] or (placing / name).exists()
        if waits and (folder / name).exists() and not (aside / name).exists():
            os.rename(folder / name, aside / name)
    for name in plan["new"]:
        if (placing / name).exists():
            os.rename(placing / name, folder / name)
    sync_folder(folder)
    if plan["old"]:
        sync_folder(aside)
    (placing / _PLAN).unlink()
    placing.rmdir()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Hold a folder for one process, on one machine; the kernel lets go of it when the process ends.

    Parameters
    ----------
    folder
        Nothing is written into it.

    Yields
    ------
    bool
        Whether nobody else holds it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as wrong:
            yield wrong.errno not in (errno.EWOULDBLOCK, errno.EACCES)  # no locks here: nobody can hold one
        else:
            yield True
    finally:
        os.close(descriptor)
