"""Debian's Chromium, driven by Playwright; and what is skipped where it is not installed."""

import os
import shutil
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from volumetry.web.serving import LocalServer

PATIENCE_MS = 180_000

FLAGS = (
    "--no-sandbox",  # tests may run as root
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def absent(reason):
    """Skip for want of something outside; in the project's own check that is a failure."""
    say = pytest.fail if os.environ.get("VOLUMETRY_CI") == "1" else pytest.skip
    say(reason)


def need(*programs):
    """Skip where an outside program is absent."""
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        absent(f"not installed: {', '.join(missing)}")


@contextmanager
def chromium():
    """A browser for the length of the block."""
    need("chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page that remembers what it asked for and what it complained of."""

    def __init__(self, browser, **context):
        self.context = browser.new_context(viewport={"width": 760, "height": 560}, **context)
        self.page = self.context.new_page()
        self.asked, self.complaints = [], []
        self.context.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)

    def asked_only(self, address):
        """Whether nothing but our own address, and data inside the page, was asked for."""
        return all(url.startswith((address, "data:", f"blob:{address}")) for url in self.asked) and self.asked


@contextmanager
def serving():
    """A function that serves an app in a thread until the end of the block."""
    servers = []

    def start(app):
        server = LocalServer(app)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        servers.append((server, thread))
        return server

    try:
        yield start
    finally:
        for server, thread in servers:
            server.stop()
            thread.join(30)


def picture(page, path):
    """The page and its main part as files; the pixels of the main part."""
    page.wait_for_timeout(500)  # the next frame is drawn after the script that asked for it
    page.screenshot(path=path.with_name(f"{path.stem}-page.png"))
    page.locator("main").screenshot(path=path)
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def open_viewer(page, address):
    """Open a viewer's page and wait until it shows the scan."""
    page.goto(address)
    page.wait_for_selector("body[data-state]", timeout=PATIENCE_MS)
    assert page.get_attribute("body", "data-state") == "ready", page.inner_text("#notes")
