"""TLS for DICOM associations: who we are, and whom we trust. There is no way to turn a check off."""

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volumetry.errors import ConfigError, UsageError

_HANDSHAKE_S = 10.0


@dataclass(frozen=True, slots=True)
class Tls:
    """Our certificate and key as PEM files, and the certificates that the other side's is checked against.

    Parameters
    ----------
    certificate, key
        Shown to whoever calls us, and to whom we call.
    authorities
        With them a caller must show a certificate that one of them has signed. Without, any may call, and whom we
        call is checked against the system's.
    """

    certificate: Path
    key: Path
    authorities: Path | None = None

    @classmethod
    def from_files(cls, certificate: Path | None, key: Path | None, authorities: Path | None) -> "Tls | None":
        """None if no file was given.

        Raises
        ------
        UsageError
            If certificate and key do not come together.
        """
        if certificate is None and key is None and authorities is None:
            return None
        if certificate is None or key is None:
            raise UsageError("TLS needs both our certificate and its key", hint="Give --tls-cert and --tls-key.")
        return cls(certificate, key, authorities)

    def for_callers(self) -> ssl.SSLContext:
        """What the listening side uses; raises ConfigError if a file cannot be used."""
        context = _Impatient(ssl.PROTOCOL_TLS_SERVER)
        if self.authorities is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        self._load(context)
        return context

    def for_calling(self) -> ssl.SSLContext:
        """What the calling side uses: the other's name is checked; raises ConfigError if a file cannot be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.authorities is None:
            context.load_default_certs()
        self._load(context)
        return context

    def _load(self, context: ssl.SSLContext) -> None:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            # A password is never asked for on the terminal: a node starts without anyone at it.
            context.load_cert_chain(self.certificate, self.key, password=lambda: b"")
            if self.authorities is not None:
                context.load_verify_locations(self.authorities)
        except (OSError, ValueError) as wrong:
            raise ConfigError(
                f"a certificate or key for TLS cannot be used ({type(wrong).__name__})",
                hint="Give PEM files: a certificate, its unencrypted key, and the authorities' certificates.",
            ) from wrong


def why_refused(wrong: ssl.SSLError) -> str:
    """Why a caller's handshake failed, in words for the log.

    Parameters
    ----------
    wrong
        As the listening side raised it.

    Returns
    -------
    str
        Nothing that the caller has sent is in it. Empty where the caller only closed the connection, as a load
        balancer's probe does.
    """
    if isinstance(wrong, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return ""
    if isinstance(wrong, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({wrong.verify_message})"
    reason = wrong.reason or ""
    if "_ALERT_" in reason:
        return f"it ended the handshake ({reason.lower().replace('_', ' ')})"
    return (
        _REASONS.get(reason) or f"the handshake failed ({reason.lower().replace('_', ' ') or 'no reason stated'})"
    )


_REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it presents no certificate",
    "UNSUPPORTED_PROTOCOL": "its TLS is older than 1.2",
    **dict.fromkeys(("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST"), "it does not use TLS"),
}


class _Impatient(ssl.SSLContext):
    """A caller that says nothing must not keep the next one waiting: connections are taken one after the other."""

    def wrap_socket(self, sock: socket.socket, *args: Any, **how: Any) -> ssl.SSLSocket:  # noqa: ANN401  as ssl has it
        sock.settimeout(_HANDSHAKE_S)
        wrapped = super().wrap_socket(sock, *args, **how)
        wrapped.settimeout(None)
        return wrapped
