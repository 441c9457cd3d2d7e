"""The viewer's routes, and `view`, which shows one result."""

import secrets
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, HTTPException
from fastapi.responses import FileResponse, RedirectResponse, Response

from volumetry.config import Config
from volumetry.deliver.report import policy_of
from volumetry.errors import UsageError
from volumetry.web.cases import ViewCase, load_case
from volumetry.web.corrections import Correct, FindCorrect, correction_routes, needs_ct
from volumetry.web.readings import Corrections, Readings
from volumetry.web.serving import LocalServer, new_app, run_and_open
from volumetry.wording import HU_RULE_NEEDS_CT

NIIVUE = "niivue.umd.js"
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}

FindCase = Callable[[str], ViewCase | None]


def static_folder() -> Path:
    """Where the pages' files are."""
    return Path(str(resources.files("volumetry.web"))) / "static"


def viewer_is_there() -> bool:
    """Whether this installation holds the viewer's script, which the build fetches."""
    return (static_folder() / NIIVUE).is_file()


def new_id() -> str:
    """An opaque name for the address bar: never a path, never from the input."""
    return secrets.token_urlsafe(12)


def add_static(app: FastAPI) -> None:
    """``/static/<name>``: the files of the package's static folder, by a table made now."""
    table = {path.name: path for path in static_folder().iterdir() if path.suffix in _TYPES}

    def static(name: str) -> FileResponse:
        if name not in table:
            raise HTTPException(404)
        return FileResponse(table[name], media_type=_TYPES[table[name].suffix])

    app.get("/static/{name}")(static)


def viewer_routes(find: FindCase, find_correct: FindCorrect) -> APIRouter:
    """Pages, facts, volumes and report of the cases that `find` knows by their opaque ids, and their corrections.

    What depends on the mask takes ``?reading=``: ``automatic`` or the number of a correction; without it, the
    current mask is shown.

    Parameters
    ----------
    find
        Case by id; None for an id that is none.
    find_correct
        What measures a correction of a case; of one that cannot be corrected the reason, or None.
    """
    case = _known(find)

    def shown(case_id: str, reading: str | None) -> ViewCase:
        of = case(case_id)
        return _read(of, of.readings(), reading)

    router = APIRouter()

    for name in ("viewer", "slices"):
        page = _page(case, f"{name}.html")
        router.get(f"/{name}/{{case_id}}")(page)
        router.get(f"/{name}/{{case_id}}/{{prior_id}}")(page)

    @router.get("/cases/{case_id}/facts.json")
    def facts(case_id: str, reading: str | None = None) -> dict[str, Any]:
        of = case(case_id)
        readings, correct = of.readings(), find_correct(case_id)
        return {
            **_read(of, readings, reading).facts(),
            **readings.facts(),
            "base": of.mask_name,
            "can_correct": callable(correct),
            "why_not_correct": correct if isinstance(correct, str) else None,
            "has_viewer": viewer_is_there(),
        }

    @router.get("/cases/{case_id}/{copy}/ct.nii")
    def ct(case_id: str, copy: str) -> Response:
        return _binary(case(case_id).ct_nifti(_is_reduced(copy)))

    @router.get("/cases/{case_id}/{copy}/mask.nii")
    def mask(case_id: str, copy: str, reading: str | None = None) -> Response:
        return _binary(shown(case_id, reading).mask_nifti(_is_reduced(copy)))

    @router.get("/cases/{case_id}/report.html")
    def report(case_id: str, reading: str | None = None) -> Response:
        content = shown(case_id, reading).report
        if content is None:
            raise HTTPException(404)
        policy = f"{policy_of(content)}; frame-ancestors 'none'"
        return Response(content, media_type="text/html", headers={"content-security-policy": policy})

    router.include_router(correction_routes(find, find_correct))
    return router


def _known(find: FindCase) -> Callable[[str], ViewCase]:
    """The case of an id, or the answer 404."""

    def case(case_id: str) -> ViewCase:
        found = find(case_id)
        if found is None:
            raise HTTPException(404)
        return found

    return case


def _page(case: Callable[[str], ViewCase], file: str) -> Callable[..., FileResponse]:
    """The route of a page that shows one case, or two."""

    def page(case_id: str, prior_id: str | None = None) -> FileResponse:
        case(case_id)
        if prior_id is not None:
            case(prior_id)
        return FileResponse(static_folder() / file, media_type="text/html")

    return page


def _read(case: ViewCase, readings: Readings, wanted: str | None) -> ViewCase:
    """The case with the mask that is wanted, or the answer 404."""
    try:
        return case.shown(readings, wanted)
    except KeyError:
        raise HTTPException(404) from None


def viewer_app(
    cases: Mapping[str, ViewCase], start: str, correct: Mapping[str, Correct | str] | None = None
) -> FastAPI:
    """An app that shows these cases, and takes corrections of those in `correct`; ``/`` leads to `start`."""
    app = new_app()
    add_static(app)
    app.include_router(viewer_routes(cases.get, (correct or {}).get))
    app.get("/")(lambda: RedirectResponse(start, 303))
    return app


def view(  # noqa: PLR0913  the command's own options
    result: Path,
    config: Config,
    scan: Path | None = None,
    prior: Path | None = None,
    prior_scan: Path | None = None,
    *,
    port: int = 0,
    open_browser: bool = True,
    correct: Correct | None = None,
    corrections_of: Callable[[Path], Corrections] | None = None,
    rule: str | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Show a result in the browser until the user stops it.

    Parameters
    ----------
    result, scan
        The result's folder, and the CT it was measured on (DICOM folder or NIfTI); without a scan only the mask.
    config
        For reading the scans.
    prior, prior_scan
        The same of an earlier visit, shown beside it.
    port
        0 takes a free one.
    open_browser
        Whether to open the link in the user's browser.
    correct
        What measures a mask that was edited on the page; without it, masks are shown alone.
    corrections_of
        Says where the corrections of a result lie; by default in its own folder.
    rule
        Component rule with which `correct` measures; by default that of the result.
    say
        Called with the link, which must reach the user and no log.

    Raises
    ------
    UsageError
        If there is no result to show.
    InputError
        If a scan is not the one its result was measured on.
    """
    if prior_scan is not None and prior is None:
        raise UsageError("a prior scan was given without its result")
    of = corrections_of or (lambda folder: Corrections(folder, folder / "corrections"))
    first = new_id()
    cases, start = {first: load_case(result, config, scan, of(result))}, f"/slices/{first}"
    if prior is not None:
        other = new_id()
        cases[other], start = load_case(prior, config, prior_scan, of(prior)), f"/slices/{first}/{other}"
    measures: Correct | str | None = correct
    if correct is not None and scan is None and needs_ct(result, cases[first].document, rule):
        measures = f"{HU_RULE_NEEDS_CT}. End this command and start it with --scan FOLDER."
    app = viewer_app(cases, start, {} if measures is None else {first: measures})
    run_and_open(LocalServer(app, port), say, open_browser)


def _is_reduced(copy: str) -> bool:
    if copy not in ("whole", "reduced"):
        raise HTTPException(404)
    return copy == "reduced"


def _binary(content: bytes) -> Response:
    return Response(content, media_type="application/octet-stream")
