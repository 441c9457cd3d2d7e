"""Build hook: NiiVue, the viewer's one script, into the wheel; pinned, checked, and never kept in git.

Where npm is missing or its registry cannot be reached, the build goes on without the script: everything but
`volumetry view` works, and that says what to do. A script that is not the reviewed one stops the build.
"""

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # outside a build the tests still use fetch()
    BuildHookInterface = object

PACKAGE = "@niivue/niivue@0.69.0"
TARBALL_SHA512 = "YMjQvJgD1W2b7DuoxkwlC4VxbrgIePRJ5qyQzXKxi2v2MBVg285P/CIQyg46oDDGDIcaNlbd+MhtO/edMbXJkA=="
MEMBER = "package/dist/niivue.umd.js"  # one classic script; the page needs no module loader
MEMBER_SHA256 = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"
TARGET = "volumetry/web/static/niivue.umd.js"
PATIENCE_S = 120


class NotFetchedError(Exception):
    """The script could not be had; nothing is wrong with it."""


def is_current(target: Path) -> bool:
    """Whether the reviewed script is there already, as in a wheel built from the sdist."""
    return target.is_file() and hashlib.sha256(target.read_bytes()).hexdigest() == MEMBER_SHA256


def reviewed(tarball: bytes, member: bytes) -> None:
    """Stop unless both are what was reviewed."""
    if base64.b64encode(hashlib.sha512(tarball).digest()).decode() != TARBALL_SHA512:
        raise RuntimeError(f"{PACKAGE}: the tarball's sha512 is not the pinned one")
    if hashlib.sha256(member).hexdigest() != MEMBER_SHA256:
        raise RuntimeError(f"{PACKAGE}: the sha256 of {MEMBER} is not the pinned one")


def fetch(target: Path) -> None:
    """Write the pinned script; raises NotFetchedError without npm or network, RuntimeError on a wrong digest."""
    npm = shutil.which("npm")
    if npm is None:
        raise NotFetchedError("npm is not installed")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", "--silent", "--ignore-scripts", "--pack-destination", folder, PACKAGE]
        try:
            subprocess.run(command, check=True, cwd=folder, capture_output=True, timeout=PATIENCE_S)  # noqa: S603  a fixed npm call
        except (subprocess.SubprocessError, OSError) as failed:
            raise NotFetchedError(f"npm could not fetch {PACKAGE}") from failed
        tarball = next(Path(folder).glob("*.tgz"))
        with tarfile.open(tarball) as archive:
            stream = archive.extractfile(MEMBER)
            member = stream.read() if stream else b""
        reviewed(tarball.read_bytes(), member)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(member)


class CustomBuildHook(BuildHookInterface):  # type: ignore[misc,valid-type]  # absent outside a build
    """What hatch calls before it packs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fetch the script unless it is there."""
        target = Path(self.root, TARGET)
        if is_current(target):
            return
        try:
            fetch(target)
        except NotFetchedError as missing:
            target.unlink(missing_ok=True)
            self.app.display_warning(f"{missing}: the browser viewer will not be in this build")
