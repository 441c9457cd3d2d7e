"""The page where a scan is dropped, and `serve`, which runs it."""

import asyncio
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.requests import ClientDisconnect

from volumetry.case import Add, nothing_more
from volumetry.config import Config
from volumetry.domain import Segmenter
from volumetry.errors import BusyError, InputError, OutputError, UsageError, VolumetryError
from volumetry.storage.atomic import prepare_folder
from volumetry.storage.placing import locked
from volumetry.storage.unfinished import temporary_folder
from volumetry.web.jobs import CorrectResult, Job, Jobs
from volumetry.web.serving import LocalServer, new_app, run_and_open
from volumetry.web.uploads import Upload, UploadLimits
from volumetry.web.viewer import add_static, static_folder, viewer_is_there, viewer_routes

_TOUCH_EVERY_S = 3600.0


def serve(  # noqa: PLR0913  the command's own options
    segmenter: Segmenter,
    config: Config,
    *,
    keep: Path | None = None,
    port: int = 0,
    open_browser: bool = True,
    on_delivered: Add = nothing_more,
    correct: CorrectResult | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Run the drop-in page on this machine until the user stops it.

    Parameters
    ----------
    segmenter, config
        What measures, and how.
    keep
        Folder in which results stay; without it everything is removed at the end. Uploads are always removed as
        soon as they are measured.
    port
        0 takes a free one.
    open_browser
        Whether to open the link in the user's browser.
    on_delivered
        Called with result.json, the analysis and the result's folder, to write more into it, such as a report.
    correct
        What measures a mask that was edited on the page; without it, masks are shown alone.
    say
        Called with the link, which must reach the user and no log.

    Raises
    ------
    UsageError
        If the port is taken.
    OutputError
        If `keep` cannot be written.
    BusyError
        If another server keeps its results there: each would number its own, and not show those of the other.
    """
    jobs = Jobs(segmenter, config, UploadLimits(), on_delivered, keep, correct)
    try:
        with _alone_in(keep), _all_that_is_temporary():
            server = LocalServer(drop_in_app(jobs), port)
            run_and_open(server, say, open_browser)
    except SystemExit as signalled:
        _end_if_at_work(jobs, signalled.code)
        raise
    _end_if_at_work(jobs, 0)


@contextmanager
def _alone_in(keep: Path | None) -> Iterator[None]:
    """Hold the folder in which results are kept, if there is one, against another server."""
    if keep is None:
        yield
        return
    prepare_folder(keep)
    with locked(keep) as alone:
        if not alone:
            hint = "Use the page of that one or end it, or give another folder by --keep."
            raise BusyError("another `volumetry serve` keeps its results in this folder", hint=hint)
        yield


def _end_if_at_work(jobs: Jobs, exit_code: str | int | None) -> None:
    """End the process if a scan's thread is deep in a library: an orderly end would wait for it, or crash."""
    if jobs.at_work:
        os._exit(exit_code if isinstance(exit_code, int) else 1)


@contextmanager
def _all_that_is_temporary() -> Iterator[None]:
    """One folder for whatever this process, or a library in it, puts aside of a scan; it goes with the server.

    Uploads name patients: what a killed server left is removed here by the next one.
    """
    before = tempfile.tempdir
    try:
        with temporary_folder() as folder, _touched(folder):
            tempfile.tempdir = str(folder)
            yield
    finally:  # after the folder is gone: a thread that still works finds no other place
        tempfile.tempdir = before


@contextmanager
def _touched(folder: Path) -> Iterator[None]:
    """Touch a folder now and then: where it is shared, another machine may see no lock, and judges by its age."""
    ended = threading.Event()

    def touch() -> None:
        while not ended.wait(_TOUCH_EVERY_S):
            with suppress(OSError):
                os.utime(folder)

    threading.Thread(target=touch, name="volumetry-touch", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def drop_in_app(jobs: Jobs) -> FastAPI:
    """The page, the uploads, the progress, and the viewer of what was measured; starts and closes `jobs`."""

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        jobs.start()
        try:
            yield
        finally:
            jobs.close()

    async def refused(_request: Request, stop: VolumetryError) -> JSONResponse:
        full = isinstance(stop, OutputError)
        return JSONResponse({"message": stop.message, "hint": stop.hint}, 507 if full else 409)

    app = new_app()
    app.router.lifespan_context = life
    for kind in (UsageError, InputError, OutputError):
        app.exception_handler(kind)(refused)
    app.get("/")(lambda: FileResponse(static_folder() / "drop.html", media_type="text/html"))
    add_static(app)
    for router in (viewer_routes(jobs.case, jobs.corrector), _job_routes(jobs), _upload_routes(jobs)):
        app.include_router(router)
    return app


def _job_routes(jobs: Jobs) -> APIRouter:
    router = APIRouter()

    @router.post("/jobs", status_code=201)
    def new() -> dict[str, Any]:
        job_id = jobs.new()
        return {"job": job_id, "number": _known(jobs, job_id).number}

    @router.get("/jobs")
    def everything() -> list[dict[str, Any]]:
        return [{"job": job_id, **job.facts(), "has_viewer": viewer_is_there()} for job_id, job in jobs.all()]

    @router.get("/jobs/{job_id}")
    def facts(job_id: str) -> dict[str, Any]:
        return {**_known(jobs, job_id).facts(), "has_viewer": viewer_is_there()}

    @router.post("/jobs/{job_id}/start", status_code=202)
    def begin(job_id: str) -> dict[str, str]:
        _uploading(jobs, job_id)
        jobs.submit(job_id)
        return {"job": job_id}

    @router.delete("/jobs/{job_id}", status_code=204, response_class=Response)
    def remove(job_id: str) -> None:
        _known(jobs, job_id)
        jobs.remove(job_id)

    return router


def _upload_routes(jobs: Jobs) -> APIRouter:
    router = APIRouter()

    # Raw bodies without names: nothing is parsed, spooled or decided by what the browser says of a file.
    @router.put("/jobs/{job_id}/files", response_class=Response)
    async def add_file(job_id: str, request: Request) -> Response:
        return await _received(jobs, job_id, _uploading(jobs, job_id).add_file(request.stream()))

    @router.put("/jobs/{job_id}/zip", response_class=Response)
    async def add_zip(job_id: str, request: Request) -> Response:
        return await _received(jobs, job_id, _uploading(jobs, job_id).receive_zip(request.stream()))

    return router


async def _received(jobs: Jobs, job_id: str, receiving: Awaitable[None]) -> Response:
    try:
        await receiving
    except VolumetryError as stop:
        jobs.refuse(job_id, stop)
        # The rest of the body is not read: the connection ends with this answer.
        return Response(status_code=413, headers={"connection": "close"})
    except ClientDisconnect:
        jobs.remove(job_id)
    except asyncio.CancelledError:  # the server ends while this upload stands still
        jobs.remove(job_id)
        return Response(status_code=503, headers={"connection": "close"})
    return Response(status_code=204)


def _known(jobs: Jobs, job_id: str) -> Job:
    job = jobs.get(job_id)
    if job is None:
        raise HTTPException(404)
    return job


def _uploading(jobs: Jobs, job_id: str) -> Upload:
    job = _known(jobs, job_id)
    if job.state != "uploading" or job.upload is None:
        raise HTTPException(409, "this upload has ended")
    return job.upload
