"""A mask that was edited on the page comes back, and is measured as `volumetry remeasure` measures it."""

import asyncio
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from volumetry.deliver.report import text
from volumetry.domain import FLUID
from volumetry.errors import VolumetryError
from volumetry.image.nifti import nifti_bytes
from volumetry.storage.atomic import write_whole
from volumetry.web.cases import ViewCase

Correct = Callable[[Path, str, str], tuple[dict[str, Any], str]]
"""Called with a mask file, the reader and the reason; gives the correction's result.json and its name."""

FindCorrect = Callable[[str], Correct | None]
"""What measures a correction of a case, by the case's id; None of one that cannot be corrected."""

_MOST_WORDS = 4096


def correction_routes(find: Callable[[str], ViewCase | None], find_correct: FindCorrect) -> APIRouter:
    """The route that takes an edited mask.

    The body is a line of JSON with ``reader`` and ``reason``, then the labels, one byte each, i fastest. The
    automatic mask is never written to: a correction gets a folder of its own.

    Parameters
    ----------
    find
        What is shown, by id.
    find_correct
        What measures a correction, by id.
    """
    router = APIRouter()
    one_at_a_time = asyncio.Lock()

    @router.post("/cases/{case_id}/correction", status_code=201)
    async def save(case_id: str, request: Request) -> JSONResponse:
        correct = find_correct(case_id)
        case = None if correct is None else find(case_id)
        if correct is None or case is None:
            raise HTTPException(404)
        body = await _body(request, case.labels_kji.size + _MOST_WORDS)
        reader, reason, labels = _parts(body, case)
        async with one_at_a_time:
            try:
                document, name = await run_in_threadpool(_saved, case, labels, reader, reason, correct)
            except VolumetryError as stop:
                said = {"message": stop.message, "hint": stop.hint, "code": stop.code}
                return JSONResponse(said, 507 if stop.exit_code == 7 else 409)
        keys = ("volumes_ml", "percent_of_lung", "changed_voxels", "status")
        said = {"correction": name, "sentence": text.sentence(document)}
        return JSONResponse({**said, **{key: document[key] for key in keys}}, 201)

    return router


async def _body(request: Request, most: int) -> bytes:
    """The whole body, which is not longer than the mask and some words."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise HTTPException(413, "this is more than the mask of the scan")
        parts.append(part)
    return b"".join(parts)


def _parts(body: bytes, case: ViewCase) -> tuple[str, str, "np.ndarray[Any, np.dtype[np.uint8]]"]:
    line, _, content = body.partition(b"\n")
    labels = np.frombuffer(content, np.uint8)
    if labels.size != case.labels_kji.size or (labels.size and labels.max() > FLUID):
        raise HTTPException(400, "the labels are not those of this scan")
    try:
        words = json.loads(line)
        return str(words["reader"]), str(words["reason"]), labels.reshape(case.labels_kji.shape)
    except (ValueError, KeyError, TypeError):
        raise HTTPException(400, "the reader and the reason are missing") from None


def _saved(
    case: ViewCase, labels: "np.ndarray[Any, np.dtype[np.uint8]]", reader: str, reason: str, correct: Correct
) -> tuple[dict[str, Any], str]:
    with tempfile.TemporaryDirectory(prefix="volumetry-") as folder:
        mask = Path(folder) / "edited.nii"
        write_whole(mask, nifti_bytes(labels, case.affine_ras))
        return correct(mask, reader, reason)
