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
SUPPRE scan and qualifier   of a scan's RE records (IDVAR REREFID): RESTATUS; REDECIS with REDECRSN, REDECBY
                            and REDECDTC; RECORBY with RECORRSN, RECORDTC and REAUTO (the automatic lesion
                            share); QEVAL says who judged: a reader of the core lab is an INDEPENDENT ASSESSOR
====== ==================== ==============================================================================

VISITNUM, the study days (PRSTDY, REDY, DUDY) and the last observation before the first treatment (RELOBXFL) come
from the trial's table of visits. The first treatment is on study day 1 and the day before it is day -1. A scan on
the day of the first treatment counts as made before it, as a baseline visit is.

USUBJID is STUDYID-SUBJID, and VISIT the visit, as the manifest gives them; without a manifest the scan id stands
for the subject, because no patient's identity is known here. A test that was not done has an empty result,
``RESTAT`` (``PRSTAT``, ``DUSTAT``) ``NOT DONE`` and the reason in ``--REASND``: the scan's code for a test, ``NOT
IN HEADER`` for a parameter. A result with flags is given, with RESTATUS ``READER REVIEW NEEDED`` in SUPPRE; so
is one that a human decided on, with the decision (``ACCEPT``, ``EXCLUDE``), its reason and who decided; an
excluded scan keeps its records, and none of them is a last observation. Where a reader's mask was counted, the
records are the reader's. --SEQ counts within a subject and domain. Dates are ISO 8601. Every column is a text but
--SEQ, --DY, VISITNUM and RESTRESN. Variables and data sets have the labels of the implementation guides.
"""

import importlib.util
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from volumetry.deliver.people import EXCLUSION_OUTDATED, left_out
from volumetry.deliver.scheduled import Scheduled, study_day
from volumetry.deliver.tables import NAME as DICTIONARY
from volumetry.deliver.tables import dictionary_bytes
from volumetry.errors import UsageError
from volumetry.export.source import Row, results_of
from volumetry.export.xpt import write_xpt
from volumetry.measure import table
from volumetry.storage.atomic import prepare_folder, write_whole
from volumetry.storage.csv_tables import csv_line, guarded, number_in

_USE = (
    ("SLCTHICK", "Slice Thickness", "series.thickness_mm", "mm"),
    ("KERNEL", "Convolution Kernel", "series.kernel", ""),
    ("KVP", "Peak Tube Voltage", "series.kvp", "kV"),
)
_STUDY = {"STUDYID": "Study Identifier", "DOMAIN": "Domain Abbreviation"}
_SUBJECT = {"USUBJID": "Unique Subject Identifier"}
_DEVICE = {"SPDEVID": "Sponsor Device Identifier"}
_VISIT = {"VISITNUM": "Visit Number", "VISIT": "Visit Name"}
COLUMNS: dict[str, dict[str, str]] = {
    "pr": {
        **_STUDY,
        **_SUBJECT,
        "PRSEQ": "Sequence Number",
        "PRREFID": "Reference ID",
        "PRTRT": "Reported Name of Procedure",
        "PRSTAT": "Completion Status",
        "PRREASND": "Reason Not Done",
        **_VISIT,
        "PRSTDTC": "Start Date/Time of Procedure",
        "PRSTDY": "Study Day of Start of Procedure",
    },
    "re": {
        **_STUDY,
        **_SUBJECT,
        **_DEVICE,
        "RESEQ": "Sequence Number",
        "REREFID": "Reference ID",
        "RETESTCD": "Short Name of Respiratory Test",
        "RETEST": "Name of Respiratory Test",
        "REORRES": "Result or Finding in Original Units",
        "REORRESU": "Original Units",
        "RESTRESC": "Character Result/Finding in Std Format",
        "RESTRESN": "Numeric Result/Finding in Standard Units",
        "RESTRESU": "Standard Units",
        "RESTAT": "Completion Status",
        "REREASND": "Reason Not Done",
        "REMETHOD": "Method of Test or Examination",
        "RELOBXFL": "Last Observation Before Exposure Flag",
        **_VISIT,
        "REDTC": "Date/Time of Collection",
        "REDY": "Study Day of Visit/Collection/Exam",
    },
    "du": {
        **_STUDY,
        **_SUBJECT,
        **_DEVICE,
        "DUSEQ": "Sequence Number",
        "DUREFID": "Reference ID",
        "DUTESTCD": "Device-In-Use Test Short Name",
        "DUTEST": "Device-In-Use Test Name",
        "DUORRES": "Result or Finding in Original Units",
        "DUORRESU": "Original Units",
        "DUSTAT": "Completion Status",
        "DUREASND": "Reason Not Done",
        **_VISIT,
        "DUDTC": "Date/Time of Collection",
        "DUDY": "Study Day of Visit/Collection/Exam",
    },
    "di": {
        **_STUDY,
        **_DEVICE,
        "DISEQ": "Sequence Number",
        "DIPARMCD": "Device Identifier Element Short Name",
        "DIPARM": "Device Identifier Element Name",
        "DIVAL": "Device Identifier Element Value",
    },
    "suppre": {
        "STUDYID": "Study Identifier",
        "RDOMAIN": "Related Domain Abbreviation",
        **_SUBJECT,
        "IDVAR": "Identifying Variable",
        "IDVARVAL": "Identifying Variable Value",
        "QNAM": "Qualifier Variable Name",
        "QLABEL": "Qualifier Variable Label",
        "QVAL": "Data Value",
        "QORIG": "Origin",
        "QEVAL": "Evaluator",
    },
}
"""Label by variable, in the order of each data set; SDTMIG 3.4 and SDTMIG-MD 1.1."""
TITLES = {
    "pr": "Procedures",
    "re": "Respiratory System Findings",
    "du": "Device-In-Use",
    "di": "Device Identifiers",
    "suppre": "Supplemental Qualifiers for RE",
}
"""Labels of the data sets."""
_NUMBERS = {"PRSEQ", "RESEQ", "DUSEQ", "DISEQ", "RESTRESN", "VISITNUM", "PRSTDY", "REDY", "DUDY"}
_DAYS = {"pr": "PRSTDY", "re": "REDY", "du": "DUDY"}
_READER = "INDEPENDENT ASSESSOR"
_NO_SCHEDULE: Mapping[str, Scheduled] = {}
_SOFTWARE = "VOLUMETRY"
_ISO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
"""Characters of a text in a version 5 transport file."""

Record = dict[str, Any]


def export_cdisc(
    batch: Path,
    out: Path,
    study: str,
    *,
    xpt: bool | None = None,
    schedule: Mapping[str, Scheduled] = _NO_SCHEDULE,
) -> list[str]:
    """Write the CSV file of each domain and their dictionary; with pyreadstat also SAS transport files.

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
    schedule
        Visit and day by scan; without it VISITNUM, study days and RELOBXFL are empty.

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
    for domain, records in domains(results_of(batch), study.strip(), schedule).items():
        names.append(f"{domain}.csv")
        write_whole(out / f"{domain}.csv", _csv(domain, records))
        if records and (xpt or (xpt is None and can)):
            names.append(f"{domain}.xpt")
            path = out / f"{domain}.xpt"
            write_xpt(path, domain.upper(), TITLES[domain], COLUMNS[domain], _NUMBERS, records)
    tables = {f"{domain}.csv": labels for domain, labels in COLUMNS.items()}
    write_whole(
        out / DICTIONARY, dictionary_bytes("export", {name: tuple(of) for name, of in tables.items()}, tables)
    )
    return [*names, DICTIONARY]


def domains(
    rows: Iterable[Row], study: str, schedule: Mapping[str, Scheduled] = _NO_SCHEDULE
) -> dict[str, list[Record]]:
    """Records of each domain, their columns in SDTM's order.

    Parameters
    ----------
    rows
        Of results.csv.
    study
        STUDYID.
    schedule
        Visit and day by scan.

    Returns
    -------
    dict[str, list[Record]]
        By domain.
    """
    found: dict[str, list[Record]] = {domain: [] for domain in COLUMNS}
    devices: dict[str, list[tuple[str, str, str]]] = {}
    makers: dict[str, Callable[[Row], Iterator[Record]]] = {
        "pr": _procedures,
        "re": _results,
        "du": _uses,
        "suppre": _qualifiers,
    }
    counts: dict[tuple[str, str], int] = defaultdict(int)
    last: dict[tuple[str, str], tuple[int, Record]] = {}
    for row in rows:
        devices |= dict(_devices(row))
        subject = row.get("subject") or row["scan_id"]
        usubjid = subject if subject.startswith(f"{study}-") else f"{study}-{subject}"  # USUBJID names the study
        for domain, make in makers.items():
            for record in make(row):
                counts[domain, subject] += 1
                record[f"{domain.upper()}SEQ"] = counts[domain, subject]
                fixed = {"STUDYID": study, "DOMAIN": domain.upper(), "USUBJID": usubjid}
                planned = schedule.get(row["scan_id"])
                if planned is not None and domain in _DAYS:
                    record |= {
                        "VISITNUM": planned.number,
                        "VISIT": planned.visit,
                        _DAYS[domain]: study_day(planned.day),
                    }
                whole = _ordered(domain, {**fixed, **record})
                found[domain].append(whole)
                if domain == "re" and planned is not None and left_out(row) is None:
                    _keep_last(last, (usubjid, whole["RETESTCD"]), planned.day, whole)
    for _, record in last.values():
        record["RELOBXFL"] = "Y"
    for device, facts in sorted(devices.items()):
        for seq, (code, name, value) in enumerate(facts, 1):
            record = {"STUDYID": study, "DOMAIN": "DI", "SPDEVID": device, "DISEQ": seq}
            found["di"].append(_ordered("di", {**record, "DIPARMCD": code, "DIPARM": name, "DIVAL": value}))
    return found


def _keep_last(
    last: dict[tuple[str, str], tuple[int, Record]], key: tuple[str, str], day: int | None, record: Record
) -> None:
    """Keep the last result of a subject's test that is not after the day of the first treatment."""
    if day is None or day > 0 or record["RESTRESN"] is None:
        return
    if key not in last or day >= last[key][0]:
        last[key] = (day, record)


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
    judged = {**of_scan, "QORIG": "ASSIGNED", "QEVAL": _READER}
    derived = {**of_scan, "QORIG": "DERIVED"}
    if row["status"] == "review" or left_out(row) == EXCLUSION_OUTDATED:
        yield {**derived, "QNAM": "RESTATUS", "QLABEL": "Result Status", "QVAL": "READER REVIEW NEEDED"}
    if row["decision"]:
        yield {**judged, "QNAM": "REDECIS", "QLABEL": "Reader Decision", "QVAL": row["decision"].upper()}
        yield {
            **judged,
            "QNAM": "REDECRSN",
            "QLABEL": "Reason for Reader Decision",
            "QVAL": row["decision_reason"],
        }
        for name, label, column in (
            ("REDECBY", "Reader Who Decided", "decided_by"),
            ("REDECDTC", "Date/Time of Reader Decision", "decided_at"),
        ):
            if row.get(column):  # a table of an earlier version states neither
                yield {**judged, "QNAM": name, "QLABEL": label, "QVAL": _time(row[column])}
    if row.get("corrected_by"):
        for name, label, column in (
            ("RECORBY", "Mask Corrected By", "corrected_by"),
            ("RECORRSN", "Reason for Correction of Mask", "correction_reason"),
            ("RECORDTC", "Date/Time of Correction of Mask", "corrected_at"),
        ):
            yield {**judged, "QNAM": name, "QLABEL": label, "QVAL": _time(row.get(column, ""))}
        was = row.get("automatic.percent_of_lung.lesion", "")
        yield {**derived, "QNAM": "REAUTO", "QLABEL": "Automatic Lesion Share, %", "QVAL": was}


def _time(text: str) -> str:
    """ISO 8601 to the second, as SDTM writes it; any other text as it is."""
    return text[:19] if _ISO_TIME.match(text) else text


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
    empty: Record = {name: None if name in _NUMBERS else "" for name in COLUMNS[domain]}
    return {name: record.get(name, blank) for name, blank in empty.items()}


def _csv(domain: str, records: list[Record]) -> bytes:
    lines = (csv_line(_cell(value) for value in record.values()) for record in records)
    return b"".join([csv_line(_ordered(domain, {})), *lines])


def _cell(value: Any) -> Any:  # noqa: ANN401  a text or a number
    return guarded(value) if isinstance(value, str) and number_in(value) is None else value
