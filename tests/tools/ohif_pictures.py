"""Pictures of a result's SEG and SR in OHIF, for a person to look at; run by hand, never by pytest.

::

    npm pack @ohif/app@3.13.2 && tar xzf ohif-app-3.13.2.tgz
    .venv/bin/volumetry check SCAN --out result --dicom --pdf
    .venv/bin/python tests/tools/ohif_pictures.py package/dist SCAN result pictures

The scan and the result's DICOM objects go into a new Orthanc with its DICOMweb plugin (Debian: orthanc,
orthanc-dicomweb). One small server on this machine gives out OHIF and passes its requests on to Orthanc, so that
there is one origin. Debian's Chromium opens the study, with WebGL drawn in software, and saves what a reader sees.
"""

# ruff: noqa: S310, T201

import http.server
import re
import shutil
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from archive_orthanc import Orthanc, free_port, orthanc
from web_browser import FLAGS

SOFTWARE_WEBGL = (
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
)
TYPES = {
    ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".json": "application/json",
    ".wasm": "application/wasm", ".svg": "image/svg+xml", ".woff2": "font/woff2", ".png": "image/png",
}  # fmt: skip
WITHOUT_TOUR = ".shepherd-element, .shepherd-modal-overlay-container { display: none !important; }"
PATIENCE_MS, SETTLE_S = 240_000, 12
CONFIG = """window.config = {
  routerBasename: null, extensions: [], modes: [], customizationService: {}, showStudyList: true,
  maxNumberOfWebWorkers: 2, showLoadingIndicator: true, strictZSpacingForVolumeViewport: true,
  investigationalUseDialog: { option: 'never' }, showWarningMessageForCrossOrigin: false,
  maxNumRequests: { interaction: 20, thumbnail: 5, prefetch: 5 },
  defaultDataSourceName: 'orthanc',
  dataSources: [{
    namespace: '@ohif/extension-default.dataSourcesModule.dicomweb', sourceName: 'orthanc',
    configuration: {
      friendlyName: 'Orthanc', name: 'orthanc', wadoUriRoot: '/dicom-web', qidoRoot: '/dicom-web',
      wadoRoot: '/dicom-web', qidoSupportsIncludeField: false, imageRendering: 'wadors',
      thumbnailRendering: 'wadors', enableStudyLazyLoad: true, supportsFuzzyMatching: false,
      supportsWildcard: true, omitQuotationForMultipartRequest: true, bulkDataURI: { enabled: true },
    },
  }],
};
"""


def handler_of(dist: Path, archive: Orthanc) -> type[http.server.BaseHTTPRequestHandler]:
    """Requests below /dicom-web go to the archive; the rest are OHIF's files, or its page."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/dicom-web"):
                self._pass_on()
                return
            name = self.path.partition("?")[0].lstrip("/")
            if name == "app-config.js":
                self._answer(200, "text/javascript", CONFIG.encode())
                return
            path = (dist / name).resolve()
            if not (path.is_file() and path.is_relative_to(dist)):
                path = dist / "index.html"
            self._answer(200, TYPES.get(path.suffix, "application/octet-stream"), path.read_bytes())

        def _pass_on(self) -> None:
            headers = {name: self.headers[name] for name in ("Accept", "Host") if self.headers[name]}
            request = urllib.request.Request(f"http://127.0.0.1:{archive.http}{self.path}", headers=headers)
            try:
                with urllib.request.urlopen(request, timeout=120) as answer:
                    self._answer(200, answer.headers["Content-Type"] or "application/octet-stream", answer.read())
            except urllib.error.HTTPError as wrong:
                self._answer(wrong.code, "text/plain", wrong.read())

        def _answer(self, status: int, kind: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Nothing: a URL holds UIDs."""

    return Handler


@contextmanager
def served(dist: Path, archive: Orthanc) -> Iterator[str]:
    """OHIF and the archive under one address of this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler_of(dist.resolve(), archive))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def store(archive: Orthanc, files: list[Path]) -> None:
    """Every file into the archive."""
    for path in files:
        address = f"http://127.0.0.1:{archive.http}/instances"
        with urllib.request.urlopen(urllib.request.Request(address, path.read_bytes())) as answer:
            answer.read()


def slice_with_most_lesion(seg: pydicom.Dataset) -> str:
    """The UID of the source slice on which ground glass and solid are largest."""
    counts: dict[str, int] = {}
    groups = seg.PerFrameFunctionalGroupsSequence
    for frame, group in zip(seg.pixel_array.reshape(len(groups), -1), groups, strict=True):
        if group.SegmentIdentificationSequence[0].ReferencedSegmentNumber > 1:
            uid = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
            counts[uid] = counts.get(uid, 0) + int(frame.sum())
    return max(counts, key=lambda uid: counts[uid])


def take_pictures(page: Page, image_number: int, out: Path) -> None:
    """SEG on the slice with this image number, then the other objects of the study."""

    def shot(name: str) -> None:
        page.screenshot(path=str(out / f"{name}.png"))
        print(out / f"{name}.png")

    page.set_default_timeout(PATIENCE_MS)
    page.locator('[data-cy="study-browser-thumbnail"]').first.wait_for()
    time.sleep(SETTLE_S)
    page.add_style_tag(content=WITHOUT_TOUR)
    page.get_by_text("Lung lesion segmentation").first.dblclick()
    page.locator('[data-cy="yes-hydrate-btn"]').wait_for()
    time.sleep(SETTLE_S)
    page.locator('[data-cy="yes-hydrate-btn"]').click(no_wait_after=True)
    time.sleep(SETTLE_S)
    page.locator('[data-cy="panelSegmentation-btn"]').click()
    pane = page.locator('[data-cy="viewport-pane"]').first
    pane.hover()
    page.keyboard.press("2")  # the lung window
    for _ in range(1000):
        shown = re.search(r"I:\s*(\d+)", pane.inner_text())
        if shown is None or int(shown[1]) == image_number:
            break
        page.mouse.wheel(0, 100)
        time.sleep(0.3)
    time.sleep(SETTLE_S)
    shot("seg")
    for name, title in (("pdf", "Lung lesion report"), ("sr", "Lung lesion volumes")):
        if page.get_by_text(title).count():
            page.get_by_text(title).first.dblclick()
            time.sleep(SETTLE_S)
            shot(name)


def main(dist: Path, scan: Path, result: Path, out: Path) -> None:
    """Take the pictures."""
    out.mkdir(parents=True, exist_ok=True)
    seg = pydicom.dcmread(result / "seg.dcm")
    wanted = slice_with_most_lesion(seg)
    files = [path for path in sorted(scan.rglob("*")) if path.is_file()]
    numbers = [
        int(header.InstanceNumber)
        for header in (pydicom.dcmread(path, stop_before_pixels=True) for path in files)
        if header.SOPInstanceUID == wanted
    ]
    with tempfile.TemporaryDirectory() as folder, orthanc(Path(folder), free_port()) as archive:
        store(archive, [*files, *sorted(result.glob("*.dcm"))])
        with served(dist, archive) as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=[*FLAGS, *SOFTWARE_WEBGL]
            )
            page = browser.new_page(viewport={"width": 1500, "height": 950})
            page.on("pageerror", lambda error: print(f"page error: {error}"))
            page.on("console", lambda said: print(said.text[:300]) if said.type in ("error", "warning") else None)
            page.goto(f"{address}/viewer?StudyInstanceUIDs={seg.StudyInstanceUID}")
            take_pictures(page, numbers[0], out)
            browser.close()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:5]))
