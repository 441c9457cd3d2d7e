"""Certificates of two days' life, made by openssl."""

import subprocess

from web_browser import need

from volumetry.archive.tls import Tls


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)  # noqa: S603, S607  our own fixed call


def certificate(folder, name, authority=None, subject="IP:127.0.0.1"):
    """A key and certificate; signed by `authority`, or an authority itself."""
    need("openssl")
    key, pem = folder / f"{name}.key", folder / f"{name}.pem"
    made = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    signed = () if authority is None else ("-CA", authority.certificate, "-CAkey", authority.key)
    authorised = ("keyUsage=critical,keyCertSign,cRLSign",)  # asked for from Python 3.13 on (RFC 5280)
    named = (f"subjectAltName={subject}", "basicConstraints=critical,CA:FALSE")
    more = [word for extension in (named if authority else authorised) for word in ("-addext", extension)]
    openssl(*made, "-keyout", key, "-out", pem, "-subj", f"/CN={name}", *signed, *more)
    return Tls(pem, key, authority and authority.certificate)


def expired(folder, name, authority):
    """A certificate of `authority` that ended before it began."""
    made = certificate(folder, name, authority)
    asked = folder / f"{name}.csr"
    openssl("req", "-new", "-key", made.key, "-subj", f"/CN={name}", "-out", asked)
    signed = ("-CA", authority.certificate, "-CAkey", authority.key, "-set_serial", "1")
    openssl("x509", "-req", "-in", asked, *signed, "-days", "-1", "-out", made.certificate)
    return made
