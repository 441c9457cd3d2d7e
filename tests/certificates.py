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
    more = ("-addext", f"subjectAltName={subject}") if authority else ()
    constraint = () if authority is None else ("-addext", "basicConstraints=critical,CA:FALSE")
    openssl(*made, "-keyout", key, "-out", pem, "-subj", f"/CN={name}", *signed, *more, *constraint)
    return Tls(pem, key, authority and authority.certificate)
