"""SDTM-shaped files of a batch: what was done (PR), what was found (RE), with what (DI and DU).

The shape follows the SDTM Implementation Guide 3.4 and its Medical Devices supplement; the trial's own data
manager maps names to the study's controlled terminology, and only a validated conversion is a submission data
set.

====== ==================== ==============================================================================
Domain One record per       Filled from
====== ==================== ==============================================================================
PR     scan                 PRTRT ``CHEST CT``, PRREFID = scan_id, PRSTDTC = series.acquisition_date
RE     scan and test        RETESTCD/RETEST/REORRES/REORRESU and RESTRESC/RESTRESN/RESTRESU: the measures'
                            `code`, `sdtm` and unit (`volumetry.measure.table`)
DI     device and parameter scanner (SPDEVID from manufacturer and model) and software; DIPARMCD/DIPARM/DIVAL
DU     scan and parameter   DUTESTCD/DUTEST/DUORRES/DUORRESU: slice thickness, kernel, kVp
SUPPRE scan and qualifier   of a scan's RE records (IDVAR REREFID): RESTATUS; REDECIS with REDECRSN and
                            REDECBY; RECORBY with RECORRSN and REAUTO (the automatic lesion share)
====== ==================== ==============================================================================

USUBJID is STUDYID-SUBJID, and VISIT the visit, as the manifest gives them; without a manifest the scan id stands
for the subject, because no patient's identity is known here. A test that was not done has an empty result,
``RESTAT`` (``PRSTAT``, ``DUSTAT``) ``NOT DONE`` and the reason in ``--REASND``: the scan's code for a test, ``NOT
IN HEADER`` for a parameter. A result with flags is given, with RESTATUS ``READER REVIEW NEEDED`` in SUPPRE; so
is one that a human decided on, with the decision (``ACCEPT``, ``EXCLUDE``), its reason and who decided; an
excluded scan keeps its records. Where a reader's mask was counted, the records are the reader's. --SEQ counts
within a subject and domain. Dates are ISO 8601. Every column is a text but --SEQ and RESTRESN.
"""

import importlib.util
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from volumetry.errors import OutputError, UsageError
from volumetry.export.source import Row, results_of
from volumetry.measure import table
from volumetry.storage.atomic import prepare_folder, write_whole
from volumetry.storage.csv_tables import csv_line, guarded, number_in
from volumetry.storage.unfinished import unfinished_file

_USE = (
    ("SLCTHICK", "Slice Thickness", "series.thickness_mm", "mm"),
    ("KERNEL", "Convolution Kernel", "series.kernel", ""),
    ("KVP", "Peak Tube Voltage", "series.kvp", "kV"),
)
_COLUMNS = {
    "pr": ("PRSEQ", "PRREFID", "PRTRT", "PRSTAT", "PRREASND", "VISIT", "PRSTDTC"),
    "re": (
        *("RESEQ", "REREFID", "SPDEVID", "RETESTCD", "RETEST", "REORRES", "REORRESU", "RESTRESC", "RESTRESN"),
        *("RESTRESU", "RESTAT", "REREASND", "REMETHOD", "VISIT", "REDTC"),
    ),
    "du": (
        *("SPDEVID", "DUSEQ", "DUREFID", "DUTESTCD", "DUTEST", "DUORRES", "DUORRESU", "DUSTAT", "DUREASND"),
        *("VISIT", "DUDTC"),
    ),
    "di": ("SPDEVID", "DISEQ", "DIPARMCD", "DIPARM", "DIVAL"),
    "suppre": ("IDVAR", "IDVARVAL", "QNAM", "QLABEL", "QVAL", "QORIG"),
}
_FIRST = {"di": ("STUDYID", "DOMAIN"), "suppre": ("STUDYID", "RDOMAIN", "USUBJID")}

_NUMBERS = {"PRSEQ", "RESEQ", "DUSEQ", "DISEQ", "RESTRESN"}
_SOFTWARE = "VOLUMETRY"
_LONGEST = 200
"""Characters of a text in a version 5 transport file."""

Record = dict[str, Any]


def export_cdisc(batch: Path, out: Path, study: str, *, xpt: bool | None = None) -> list[str]:
    """Write pr.csv, re.csv, di.csv, du.csv and suppre.csv; with pyreadstat also SAS transport files of them.

    Parameters
    ----------
    batch
        A batch's folder.
    out
        Where the files go; made if missing.
    study
        STUDYID.
    xpt
        True demands the transport files, False leaves them out; None writes them if it can.

    Returns
    -------
    list of str
        Names of the files written.

    Raises
    ------
    UsageError
        If the folder is no batch's, the study has no name, or XPT is demanded without pyreadstat.
    OutputError
        If a file cannot be written.
    """
    can = importlib.util.find_spec("pyreadstat") is not None
    if xpt and not can:
        raise UsageError("XPT needs pyreadstat", hint="Install it with: pip install 'volumetry[cdisc]'")
    if not study.strip():
        raise UsageError("CDISC files need the study's id")
    prepare_folder(out)
    names = []
    for domain, records in domains(results_of(batch), study.strip()).items():
        names.append(f"{domain}.csv")
        write_whole(out / f"{domain}.csv", _csv(domain, records))
        if records and (xpt or (xpt is None and can)):
            names.append(f"{domain}.xpt")
            _write_xpt(out / f"{domain}.xpt", domain, records)
    return names


def domains(rows: Iterable[Row], study: str) -> dict[str, list[Record]]:
    """Records of each domain, their columns in SDTM's order."""
    found: dict[str, list[Record]] = {domain: [] for domain in _COLUMNS}
    devices: dict[str, list[tuple[str, str, str]]] = {}
    makers: dict[str, Callable[[Row], Iterator[Record]]] = {
        "pr": _procedures,
        "re": _results,
        "du": _uses,
        "suppre": _qualifiers,
    }
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for row in rows:
        devices |= dict(_devices(row))
        subject = row.get("subject") or row["scan_id"]
        usubjid = subject if subject.startswith(f"{study}-") else f"{study}-{subject}"  # USUBJID names the study
        for domain, make in makers.items():
            for record in make(row):
                counts[domain, subject] += 1
                record[f"{domain.upper()}SEQ"] = counts[domain, subject]
                fixed = {"STUDYID": study, "DOMAIN": domain.upper(), "USUBJID": usubjid}
                found[domain].append(_ordered(domain, {**fixed, **record}))
    for device, facts in sorted(devices.items()):
        for seq, (code, name, value) in enumerate(facts, 1):
            record = {"STUDYID": study, "DOMAIN": "DI", "SPDEVID": device, "DISEQ": seq}
            found["di"].append(_ordered("di", {**record, "DIPARMCD": code, "DIPARM": name, "DIVAL": value}))
    return found


def _procedures(row: Row) -> Iterator[Record]:
    yield {"PRREFID": row["scan_id"], "PRTRT": "CHEST CT", "VISIT": row["visit"], "PRSTDTC": _date(row)}


def _results(row: Row) -> Iterator[Record]:
    for measure in table.MEASURES:
        if not measure.sdtm:
            continue
        common = {
            "REREFID": row["scan_id"],
            "RETESTCD": measure.code,
            "RETEST": measure.sdtm,
            "REMETHOD": "CT SCAN",
            "VISIT": row["visit"],
            "REDTC": _date(row),
        }
        value = row.get(measure.key, "")
        if not value:
            reason = row["code"] or "NOT MEASURED"
            yield {**common, "RESTAT": "NOT DONE", "REREASND": reason}
            continue
        yield {
            **common,
            "SPDEVID": _SOFTWARE,
            "REORRES": value,
            "REORRESU": measure.unit,
            "RESTRESC": value,
            "RESTRESN": float(value),
            "RESTRESU": measure.unit,
        }


def _qualifiers(row: Row) -> Iterator[Record]:
    of_scan = {"RDOMAIN": "RE", "IDVAR": "REREFID", "IDVARVAL": row["scan_id"]}
    if row["status"] == "review":
        asked = {"QNAM": "RESTATUS", "QLABEL": "Result Status", "QVAL": "READER REVIEW NEEDED"}
        yield {**of_scan, **asked, "QORIG": "DERIVED"}
    if row["decision"]:
        decided = {"QNAM": "REDECIS", "QLABEL": "Reader Decision", "QVAL": row["decision"].upper()}
        why = {"QNAM": "REDECRSN", "QLABEL": "Reason for Reader Decision", "QVAL": row["decision_reason"]}
        yield {**of_scan, **decided, "QORIG": "ASSIGNED"}
        yield {**of_scan, **why, "QORIG": "ASSIGNED"}
        if row.get("decided_by"):
            who = {"QNAM": "REDECBY", "QLABEL": "Reader Who Decided", "QVAL": row["decided_by"]}
            yield {**of_scan, **who, "QORIG": "ASSIGNED"}
    if row.get("corrected_by"):
        who = {"QNAM": "RECORBY", "QLABEL": "Mask Corrected By", "QVAL": row["corrected_by"]}
        why = {"QNAM": "RECORRSN", "QLABEL": "Reason for Correction of Mask", "QVAL": row["correction_reason"]}
        was = row.get("automatic.percent_of_lung.lesion", "")
        yield {**of_scan, **who, "QORIG": "ASSIGNED"}
        yield {**of_scan, **why, "QORIG": "ASSIGNED"}
        yield {**of_scan, "QNAM": "REAUTO", "QLABEL": "Automatic Lesion Share, %", "QVAL": was, "QORIG": "DERIVED"}


def _uses(row: Row) -> Iterator[Record]:
    if not row.get("series.series_uid"):
        return
    for code, name, column, unit in _USE:
        value = row.get(column, "")
        common = {"SPDEVID": _scanner(row), "DUREFID": row["scan_id"], "DUTESTCD": code, "DUTEST": name}
        common |= {"VISIT": row["visit"], "DUDTC": _date(row)}
        if value:
            yield {**common, "DUORRES": value, "DUORRESU": unit}
        else:
            yield {**common, "DUSTAT": "NOT DONE", "DUREASND": "NOT IN HEADER"}


def _devices(row: Row) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    if row.get("series.series_uid"):
        facts = [
            ("MANUF", "Manufacturer", row.get("series.manufacturer", "")),
            ("MODEL", "Model Number", row.get("series.model_name", "")),
            ("DEVTYPE", "Device Type", "CT SCANNER"),
        ]
        yield _scanner(row), [fact for fact in facts if fact[2]]
    if row.get("provenance.software_version"):
        model = f"{row['provenance.model']} sha256 {row['provenance.model_sha256'] or 'none'}"
        version = row["provenance.software_version"]
        facts = [("DEVTYPE", "Device Type", "SOFTWARE"), ("SFTWRVER", "Software Version", version)]
        yield _SOFTWARE, [*facts, ("MODELVER", "Model Version", model)]


def _scanner(row: Row) -> str:
    text = f"{row.get('series.manufacturer', '')} {row.get('series.model_name', '')}".strip()
    return text.upper() or "UNKNOWN SCANNER"


def _date(row: Row) -> str:
    """DICOM's ``20260131`` as ISO 8601; empty if the header has none."""
    date = row.get("series.acquisition_date", "")
    return f"{date[:4]}-{date[4:6]}-{date[6:]}" if len(date) == 8 and date.isdecimal() else ""


def _ordered(domain: str, record: Record) -> Record:
    first = _FIRST.get(domain, ("STUDYID", "DOMAIN", "USUBJID"))
    empty: Record = {name: None if name in _NUMBERS else "" for name in (*first, *_COLUMNS[domain])}
    return {name: record.get(name, blank) for name, blank in empty.items()}


def _csv(domain: str, records: list[Record]) -> bytes:
    lines = (csv_line(_cell(value) for value in record.values()) for record in records)
    return b"".join([csv_line(_ordered(domain, {})), *lines])


def _cell(value: Any) -> Any:  # noqa: ANN401  a text or a number
    return guarded(value) if isinstance(value, str) and number_in(value) is None else value


def _write_xpt(path: Path, domain: str, records: list[Record]) -> None:
    """SAS transport version 5: ASCII, at most 200 characters."""
    import pandas as pd
    import pyreadstat

    columns = list(_ordered(domain, {}))
    frame = pd.DataFrame(
        {
            name: [record[name] for record in records]
            if name in _NUMBERS
            else [_ascii(record[name]) for record in records]
            for name in columns
        }
    )
    try:
        with unfinished_file(path) as (draft, _):
            pyreadstat.write_xport(frame, str(draft), table_name=domain.upper(), file_format_version=5)
            content = draft.read_bytes()
    except OSError as wrong:
        raise OutputError(f"cannot write {path.name}: {wrong.strerror}") from wrong
    write_whole(path, content)


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii")[:_LONGEST]
