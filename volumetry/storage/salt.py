"""The secret under which patients are digested, and the digest.

A patient id has so few possible values that its plain digest can be looked up by trying them all. The digest in a
result is therefore keyed: without the secret it names nobody, and two results of a person agree only where both
were made under the same one.
"""

import contextlib
import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from volumetry.errors import ConfigError, OutputError
from volumetry.storage.atomic import write_whole

VARIABLE = "VOLUMETRY_PATIENT_SALT"
_FILE = Path("volumetry") / "patient-salt"
_SHORTEST = 16
_MARK_DIGITS, _DIGITS = 8, 32


def patient_salt(environment: Mapping[str, str] = os.environ) -> bytes | None:
    """The secret of this installation.

    ``VOLUMETRY_PATIENT_SALT`` where it is set, which several machines may share; otherwise a file of random bytes
    in the user's configuration folder, made at first use.

    Parameters
    ----------
    environment
        Variables by name.

    Returns
    -------
    bytes or None
        None where there is no variable, and no folder in which the file can be kept.

    Raises
    ------
    ConfigError
        If the secret is too short to be one.
    """
    said = environment.get(VARIABLE, "").strip()
    if said:
        if len(said) < _SHORTEST:
            raise ConfigError(
                f"{VARIABLE} has fewer than {_SHORTEST} characters",
                hint="Give a random text: with a short one, patient ids can be guessed from their digests.",
            )
        return said.encode()
    home = Path(environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME") or "/nonexistent", ".config"))
    kept = _read(home / _FILE)
    return kept if kept is not None else _made(home)


def patient_digest(salt: bytes, patient: str, issuer: str | None = None) -> str:
    """Digest of a patient under the secret, with a mark by which results under another secret are recognised.

    Parameters
    ----------
    salt
        From `patient_salt`.
    patient
        What identifies the patient.
    issuer
        Of the id, where it is known.

    Returns
    -------
    str
        ``<mark>-<digest>``, hexadecimal; with an issuer ``<mark>-<digest>-<issuer>``.

    Examples
    --------
    >>> one = patient_digest(b"a" * 16, "4711")
    >>> one == patient_digest(b"a" * 16, "4711"), one == patient_digest(b"a" * 16, "4712")
    (True, False)
    """
    mark = hmac.new(salt, b"which salt", hashlib.sha256).hexdigest()[:_MARK_DIGITS]
    own = hmac.new(salt, b"patient " + patient.encode(), hashlib.sha256).hexdigest()[:_DIGITS]
    if issuer is None:
        return f"{mark}-{own}"
    return (
        f"{mark}-{own}-{hmac.new(salt, b'issuer ' + issuer.encode(), hashlib.sha256).hexdigest()[:_MARK_DIGITS]}"
    )


def same_patient(one: str, other: str) -> bool:
    """Whether two digests under one secret are of one patient; an issuer that only one knows tells nothing.

    Parameters
    ----------
    one, other
        From `patient_digest`.

    Returns
    -------
    bool
        False also if the same id was given by two issuers.

    Examples
    --------
    >>> of = lambda issuer: patient_digest(b"a" * 16, "4711", issuer)
    >>> same_patient(of("here"), of(None)), same_patient(of("here"), of("there"))
    (True, False)
    """
    (own, issuer), (others, other_issuer) = (_without_issuer(digest) for digest in (one, other))
    return own == others and (issuer == other_issuer or not issuer or not other_issuer)


def _without_issuer(digest: str) -> tuple[str, str]:
    mark, _, rest = digest.partition("-")
    own, _, issuer = rest.partition("-")
    return f"{mark}-{own}", issuer


def _read(path: Path) -> bytes | None:
    with contextlib.suppress(OSError):
        content = path.read_bytes().strip()
        if len(content) >= _SHORTEST:
            return content
    return None


def _made(home: Path) -> bytes | None:
    """A new secret, kept for later runs; none where it cannot be kept, as no later run could compare with it."""
    if not home.is_dir() and not home.parent.is_dir():
        return None
    path = home / _FILE
    mine = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with contextlib.suppress(OSError, OutputError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(mine, secrets.token_hex(32).encode())
        with contextlib.suppress(FileExistsError):  # of two runs that begin together one wins, and both read its
            os.link(mine, path)
    with contextlib.suppress(OSError):
        mine.unlink()
    return _read(path)
