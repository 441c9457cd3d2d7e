"""A mask that was edited on the page comes back, and is measured as `volumetry remeasure` measures it.

The page says on which mask the edit was drawn. Where that is no longer the current one, the edit is refused until
the page says that its user knows of the other: of two readers at work at once, the second then decides.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool

from volumetry.codes import CATALOGUE
from volumetry.deliver.report import text
from volumetry.domain import FLUID
from volumetry.errors import UsageError, VolumetryError
from volumetry.image.nifti import CT_BESIDE, nifti_bytes
from volumetry.storage.atomic import write_whole
from volumetry.storage.unfinished import temporary_folder
from volumetry.web.cases import ViewCase
from volumetry.web.readings import CORRECTED_MEANWHILE, Readings


@dataclass(frozen=True, slots=True)
class Edit:
    """An edited mask that is to become a correction.

    Parameters
    ----------
    mask
        NIfTI on the scan's grid.
    reader, reason
        Who edited it, and why.
    drawn_on
        Digest of the mask that was edited.
    last
        Number of the last correction that its user knows of; 0 for none. The edit gets the next one or none.
    """

    mask: Path
    reader: str
    reason: str
    drawn_on: str
    last: int


Correct = Callable[[Edit], tuple[dict[str, Any], str]]
"""Measures an edit; gives the correction's result.json and its name."""

FindCorrect = Callable[[str], Correct | str | None]
"""What measures a correction of a case, by the case's id; of one that cannot be corrected the reason, or None."""

_MOST_WORDS = 16_384
"""Bytes; a reason of 2000 characters may need four each."""


@dataclass(frozen=True, slots=True, eq=False)
class _Sent:
    """What the page sends: `knows_of` is the digest of the current mask, if its user was told of it."""

    reader: str
    reason: str
    drawn_on: str
    knows_of: str | None
    labels_kji: NDArray[np.uint8]


def needs_ct(result: Path, document: Mapping[str, Any], rule: str | None = None) -> bool:
    """Whether a correction can only be measured on a CT that is handed over with it.

    Parameters
    ----------
    result
        Folder of the result; a CT may lie beside it.
    document
        result.json.
    rule
        Component rule with which corrections are measured; by default that of the result.
    """
    return (rule or document.get("component_rule")) == "hu" and not (result / CT_BESIDE).is_file()


def correction_routes(find: Callable[[str], ViewCase | None], find_correct: FindCorrect) -> APIRouter:
    """The route that takes an edited mask.

    The body is a line of JSON with ``reader``, ``reason``, ``drawn_on`` (digest of the mask that was edited) and,
    to save it although another mask is the current one, ``knows_of`` (digest of that one); then the labels, one
    byte each, i fastest. No mask is ever written to: a correction gets a folder of its own.

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
        if isinstance(correct, str):
            return _refusal(UsageError(correct, hint=""), case)
        body = await _body(request, case.labels_kji.size + _MOST_WORDS)
        sent = _parts(body, case)
        async with one_at_a_time:
            try:
                document, name = await run_in_threadpool(_saved, case, sent, correct)
            except VolumetryError as stop:
                return _refusal(stop, case)
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


def _parts(body: bytes, case: ViewCase) -> _Sent:
    line, _, content = body.partition(b"\n")
    labels = np.frombuffer(content, np.uint8)
    if labels.size != case.labels_kji.size or (labels.size and labels.max() > FLUID):
        raise HTTPException(400, "the labels are not those of this scan")
    try:
        words = json.loads(line)
        reader, reason, drawn_on = (str(words[key]) for key in ("reader", "reason", "drawn_on"))
        return _Sent(reader, reason, drawn_on, words.get("knows_of"), labels.reshape(case.labels_kji.shape))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise HTTPException(400, "the reader, the reason or the mask that was edited is not stated") from None


def _saved(case: ViewCase, sent: _Sent, correct: Correct) -> tuple[dict[str, Any], str]:
    readings = case.readings()
    if readings.mask_sha256 not in (sent.drawn_on, sent.knows_of):
        raise _drawn_on_another(readings)
    with temporary_folder() as folder:
        mask = folder / "edited.nii"
        write_whole(mask, nifti_bytes(sent.labels_kji, case.affine_ras))
        return correct(Edit(mask, sent.reader, sent.reason, sent.drawn_on, readings.last))


def _drawn_on_another(readings: Readings) -> UsageError:
    if readings.current is None:
        now = "the automatic mask is the current one now, and this edit was drawn on another mask"
    else:
        who = f"correction {readings.current.number} by {readings.current.document['corrected_by']}"
        now = f"{who} is the current mask now, and this edit was drawn on another mask"
    return UsageError(now, CORRECTED_MEANWHILE, CATALOGUE[CORRECTED_MEANWHILE].hint)


def _refusal(stop: VolumetryError, case: ViewCase) -> JSONResponse:
    said: dict[str, Any] = {"message": stop.message, "hint": stop.hint, "code": stop.code}
    if stop.code == CORRECTED_MEANWHILE:
        readings = case.readings()
        said |= readings.facts() | {"mask_sha256": readings.mask_sha256}
    return JSONResponse(said, 507 if stop.exit_code == 7 else 409)
