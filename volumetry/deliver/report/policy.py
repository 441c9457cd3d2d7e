"""What a page of ours that is one file may load; the page itself and whoever serves it state the same."""

import base64
import hashlib
import re

_STYLE = re.compile(rb"<style>(.*?)</style>", re.DOTALL)


def one_file_policy(*styles: str) -> str:
    """Content security policy of a page with styles and pictures inside: these alone, and no script.

    Parameters
    ----------
    styles
        Content of each ``style`` element, with lines that end in one line feed, as a browser reads them.

    Returns
    -------
    str
        For the ``content`` of the ``Content-Security-Policy`` element.
    """
    digests = (
        base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii") for style in styles
    )
    sources = " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
    return f"default-src 'none'; img-src data:; style-src {sources}; base-uri 'none'; form-action 'none'"


def policy_of(page: bytes) -> str:
    """The policy of a page on the disk, which an earlier version may have written in another style.

    Parameters
    ----------
    page
        HTML.

    Returns
    -------
    str
        As from `one_file_policy`.
    """
    return one_file_policy(*(style.decode("utf-8", "replace") for style in _STYLE.findall(page)))
