"""`pull` and `push`: scans from, and results to, an archive that speaks DICOMweb."""

import ipaddress
import os
from base64 import b64encode
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from volumetry.archive.extra import require_extra
from volumetry.archive.syntaxes import can_be_uncompressed, uncompressed
from volumetry.errors import ConfigError, InputError, OutputError, UsageError
from volumetry.storage.atomic import prepare_folder
from volumetry.storage.unfinished import unfinished_folder

if TYPE_CHECKING:
    from dicomweb_client.api import DICOMwebClient
    from requests import PreparedRequest

TOKEN_VARIABLE = "VOLUMETRY_DICOMWEB_TOKEN"  # noqa: S105  a name, not a secret
USER_VARIABLE, PASSWORD_VARIABLE = "VOLUMETRY_DICOMWEB_USER", "VOLUMETRY_DICOMWEB_PASSWORD"
_AT_ONCE = 10
_PERHAPS_THE_SYNTAX = (400, 406, 409, 415)
"""Statuses with which an archive may refuse a transfer syntax (DICOM PS3.18, 10.5.3)."""
_AS_STORED = (("application/dicom", "*"),)  # in the archive's own transfer syntax, not transcoded
_HINT = "Check the address (it usually ends in /dicom-web), the token and the certificate; then try again."
_NOT_THERE = "Check the UIDs of study and series, and that this account may read the study."
_INCOMPLETE = "Try again later, in case the archive still receives images; else have the study sent to it again."
_NOT_DICOM = "Give seg.dcm and sr.dcm of a result; if one is damaged, run `volumetry check --dicom` again."
_FILES = "Check the certificate files, and that the output folder can be written and has free space."


@dataclass(frozen=True, slots=True)
class Access:
    """How an archive is reached.

    Parameters
    ----------
    token
        Sent as ``Authorization: Bearer``; over https alone, unless the archive is on this machine.
    ca_bundle
        Certificates that the archive's is checked against; the system's by default. There is no way to turn the
        check off.
    client_certificate, client_key
        What we show to the archive.
    user, password
        Sent as ``Authorization: Basic`` where there is no token; over https alone, as the token.
    timeout_s
        Without an answer for so long, the archive counts as gone.
    """

    token: str | None = None
    ca_bundle: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    timeout_s: float = 60.0
    user: str | None = None
    password: str | None = None

    @property
    def authorization(self) -> str | None:
        """Value of the header ``Authorization``; None without a token or a user."""
        if self.token:
            return f"Bearer {self.token}"
        if self.user is None:
            return None
        pair = f"{self.user}:{self.password or ''}".encode()
        return f"Basic {b64encode(pair).decode('ascii')}"

    @classmethod
    def from_environment(
        cls,
        environment: Mapping[str, str] = os.environ,
        ca_bundle: Path | None = None,
        client_certificate: Path | None = None,
        client_key: Path | None = None,
    ) -> "Access":
        """Access with the token, or the user and password, from the environment: arguments are read by anyone.

        Parameters
        ----------
        environment
            Variables by name.
        ca_bundle, client_certificate, client_key
            As for `Access`.

        Returns
        -------
        Access
            Without a token or a user where the variables are absent or empty.

        Raises
        ------
        ConfigError
            If there is a user and no password, or a name with a colon, which the header cannot hold.
        """
        token, user, password = (
            environment.get(name) or None for name in (TOKEN_VARIABLE, USER_VARIABLE, PASSWORD_VARIABLE)
        )
        if user is not None and (password is None or ":" in user):
            raise ConfigError(
                f"{USER_VARIABLE} needs {PASSWORD_VARIABLE} beside it, and must not contain a colon",
                hint="Set both variables, or the token.",
            )
        return cls(token, ca_bundle, client_certificate, client_key, user=user, password=password)


def pull(url: str, study: str, series: str | None, out: Path, access: Access | None = None) -> int:
    """Fetch a series, or every CT series of a study, as DICOM files.

    Parameters
    ----------
    url
        DICOMweb root.
    study, series
        Instance UIDs; without a series, each CT series goes to its own folder ``out/<n>``.
    out
        Must not exist or be empty; a pulled series is there whole or not at all.
    access
        Token and certificates.

    Returns
    -------
    int
        How many instances were written.

    Raises
    ------
    UsageError
        If `out` is not empty.
    InputError
        If the archive has no such series, or it lists fewer series or gives fewer instances than there are
        (``MANIFEST_MISMATCH``).
    OutputError
        If the archive cannot be reached or files cannot be written.
    ConfigError
        If a token would travel unencrypted.
    """
    prepare_folder(out)
    if any(out.iterdir()):
        raise UsageError(f"{out.name} is not empty; pull overwrites nothing", hint="Give a new folder by --out.")
    with _client(url, access or Access()) as client:
        if series is not None:
            return _pull_series(client, study, series, out)
        uids = _ct_series(client, study)
        if not uids:
            raise InputError("the archive has no CT series in this study", "EMPTY_INPUT", _NOT_THERE)
        return sum(_pull_series(client, study, uid, out / str(n)) for n, uid in enumerate(uids, start=1))


def _ct_series(client: "DICOMwebClient", study: str) -> list[str]:
    """UIDs of all CT series of a study.

    Some archives cap what they list, whatever page is asked for: the number that the study states must be listed.
    """
    found = client.search_for_series(study, get_remaining=True)
    modalities = {_value(one, "0020000E"): _value(one, "00080060") for one in found}
    stated = _count(client.search_for_studies(search_filters={"0020000D": study}), "00201206")
    if stated is not None and stated > len(modalities):
        raise InputError(
            f"the archive lists {len(modalities)} of the {stated} series of this study",
            "MANIFEST_MISMATCH",
            "Fetch each series with --series, or raise the archive's limit of answers to a query.",
        )
    return sorted(uid for uid, modality in modalities.items() if modality == "CT")


def push(url: str, files: Sequence[Path], access: Access | None = None) -> int:
    """Store DICOM files in an archive, uncompressed where it refuses the transfer syntax of a file.

    Parameters
    ----------
    url
        Of the archive's DICOMweb service (STOW-RS, DICOM PS3.18).
    files
        DICOM files.
    access
        How the archive is reached; without a token by default.

    Returns
    -------
    int
        How many the archive says it has stored: all of them.

    Raises
    ------
    UsageError
        If there are no files.
    InputError
        If one is not DICOM.
    ConfigError
        If a token would travel unencrypted.
    OutputError
        If the archive cannot be reached or refuses any.
    """
    if not files:
        raise UsageError("there is nothing to push")
    with _client(url, access or Access()) as client:
        for first in range(0, len(files), _AT_ONCE):
            some = {ds.SOPInstanceUID: ds for ds in map(_read, files[first : first + _AT_ONCE])}
            missing = some.keys() - _accepted(client, some.values())
            if missing:
                raise OutputError(f"the archive refused {len(missing)} of {len(files)} files", "ARCHIVE", _HINT)
    return len(files)


def _accepted(client: "DICOMwebClient", datasets: Collection[Dataset]) -> set[str]:
    """UIDs of what the archive has stored; what it refuses and can be uncompressed is offered so as well."""
    import requests

    refused: requests.HTTPError | None = None
    stored: set[str] = set()
    try:
        stored = _stored(client, datasets)
    except requests.HTTPError as answer:
        if answer.response is None or answer.response.status_code not in _PERHAPS_THE_SYNTAX:
            raise
        refused = answer
    left = [ds for ds in datasets if ds.SOPInstanceUID not in stored]
    if any(can_be_uncompressed(ds.file_meta.TransferSyntaxUID) for ds in left):
        return stored | _stored(client, [uncompressed(ds) for ds in left])
    if refused is not None:
        raise refused
    return stored


def _stored(client: "DICOMwebClient", datasets: Collection[Dataset]) -> set[str]:
    answer = client.store_instances(list(datasets))
    return {str(item.ReferencedSOPInstanceUID) for item in answer.get("ReferencedSOPSequence", [])}


def require_safe(url: str, access: Access) -> None:
    """Stop before a token, or anything over a misspelt scheme, leaves; raises UsageError or ConfigError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError("the archive's address must begin with https:// or http://")
    if parts.username or parts.password:
        hint = f"Set {TOKEN_VARIABLE}, or {USER_VARIABLE} and {PASSWORD_VARIABLE}."
        raise UsageError("the archive's address must hold no password", hint=hint)
    if parts.scheme == "http" and access.authorization and not _is_loopback(parts.hostname):
        raise ConfigError("a token or password must not travel unencrypted", hint="Give an address with https://.")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _no_other(request: "PreparedRequest") -> "PreparedRequest":
    """Authorize by the header alone."""
    return request


@contextmanager
def _client(url: str, access: Access) -> Iterator["DICOMwebClient"]:
    """A client whose every failure is ours to name; texts of the network may hold UIDs and addresses."""
    require_safe(url, access)
    require_extra("dicomweb_client", "requests")
    import requests
    from dicomweb_client.api import DICOMwebClient

    with requests.Session() as session:
        session.trust_env = access.ca_bundle is None  # else the environment's bundle would win over the given one
        session.verify = str(access.ca_bundle) if access.ca_bundle else True
        if access.client_certificate is not None:
            pair = (str(access.client_certificate), str(access.client_key))
            session.cert = pair if access.client_key else pair[0]
        session.auth = _no_other  # else a .netrc of the user would win over the header
        headers = {"Authorization": access.authorization} if access.authorization else None
        client = DICOMwebClient(url.rstrip("/"), session=session, headers=headers, timeout=access.timeout_s)
        client.set_http_retry_params(retry=False)
        try:
            yield client
        except requests.HTTPError as refused:
            status = refused.response.status_code if refused.response is not None else "an error"
            raise OutputError(f"the archive answered {status}", "ARCHIVE", _HINT) from None
        except requests.RequestException as gone:
            raise OutputError(f"the archive cannot be reached ({type(gone).__name__})", "ARCHIVE", _HINT) from None
        except OSError as wrong:
            raise OutputError(
                f"cannot read a certificate or write a file: {wrong.strerror}", hint=_FILES
            ) from wrong


def _pull_series(client: "DICOMwebClient", study: str, series: str, out: Path) -> int:
    listed = {_value(one, "00080018") for one in client.search_for_instances(study, series, get_remaining=True)}
    if not listed:
        raise InputError("the archive has no such series", "EMPTY_INPUT", _NOT_THERE)
    prepare_folder(out.parent)
    with unfinished_folder(out.parent) as partial:
        got = set()
        for n, ds in enumerate(client.iter_series(study, series, media_types=_AS_STORED), start=1):
            ds.preamble = bytes(128)
            ds.save_as(partial / f"{n:05d}.dcm", enforce_file_format=True)
            got.add(str(ds.SOPInstanceUID))
        stated = _count(client.search_for_series(study, search_filters={"0020000E": series}), "00201209")
        if listed - got or (stated is not None and stated > len(got)):
            there = max(len(listed), stated or 0)
            message = f"the archive lists {there} instances and gave {len(got)}"
            raise InputError(message, "MANIFEST_MISMATCH", _INCOMPLETE)
        if out.exists():
            out.rmdir()
        partial.rename(out)
    return len(got)


def _value(found: Mapping[str, Mapping[str, Sequence[str]]], tag: str) -> str:
    """First value of a tag in DICOM JSON; empty if there is none."""
    values = found.get(tag, {}).get("Value", [])
    return str(values[0]) if values else ""


def _count(found: Sequence[Mapping[str, Mapping[str, Sequence[str]]]], tag: str) -> int | None:
    """How many there are in all, as a study or series states it; None if it does not."""
    stated = _value(found[0], tag) if found else ""
    return int(stated) if stated.isdecimal() else None


def _read(path: Path) -> Dataset:
    try:
        ds = pydicom.dcmread(path)
    except (InvalidDicomError, OSError) as wrong:
        raise InputError(f"{path.name} cannot be read as DICOM", "NOT_PART10", _NOT_DICOM) from wrong
    ds.preamble = bytes(128)  # without one the archive would give back a file that nobody reads
    return ds
