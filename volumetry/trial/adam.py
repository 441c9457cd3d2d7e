"""ADaM-shaped data sets of the trial: ADSL, a record per subject, and ADQS, one per subject, parameter and visit.

The shape follows the ADaM Implementation Guide 1.3: BASE, CHG and PCHG beside AVAL, ABLFL of the baseline record,
and ADY without a day 0. The trial's own programmers map names to the study's terminology; only a validated
conversion is a submission data set.
"""

import importlib.util
import math
import re
from collections.abc import Iterable, Mapping, Sequence

from volumetry.deliver.scheduled import study_day
from volumetry.storage.csv_tables import Cell, csv_bytes, number_in
from volumetry.storage.unfinished import temporary_folder
from volumetry.trial.change import Change
from volumetry.trial.config import TrialConfig, TrialConfigError
from volumetry.trial.define_xml import DataSet, define_xml
from volumetry.trial.layout import TITLES
from volumetry.trial.models import Seen
from volumetry.trial.other_outcomes import YES
from volumetry.trial.outcomes import values_at
from volumetry.trial.visit_windows import Placement
from volumetry.trial.visits import Visits

_LABELS = {
    "STUDYID": "Study Identifier",
    "USUBJID": "Unique Subject Identifier",
    "SUBJID": "Subject Identifier for the Study",
    "TRT01P": "Planned Treatment for Period 01",
    "DTHFL": "Subject Death Flag",
    "TRTP": "Planned Treatment",
    "PARAMCD": "Parameter Code",
    "PARAM": "Parameter",
    "AVISIT": "Analysis Visit",
    "AVISITN": "Analysis Visit (N)",
    "ADY": "Analysis Relative Day",
    "AVAL": "Analysis Value",
    "BASE": "Baseline Value",
    "CHG": "Change from Baseline",
    "PCHG": "Percent Change from Baseline",
    "ABLFL": "Baseline Record Flag",
    "ANL01FL": "Analysis Flag 01",
}
_ADQS = (
    *("STUDYID", "USUBJID", "TRTP", "PARAMCD", "PARAM", "AVISIT", "AVISITN", "ADY", "AVAL", "BASE", "CHG", "PCHG"),
    *("ABLFL", "ANL01FL"),
)
_ABOUT = {
    "adsl": (
        "Subject-Level Analysis Dataset",
        "One record per subject",
        "SUBJECT LEVEL ANALYSIS DATASET",
        ("STUDYID", "USUBJID"),
    ),
    "adqs": (
        "CT Measurements and Further Outcomes",
        "One record per subject, parameter and analysis visit",
        "BASIC DATA STRUCTURE",
        ("STUDYID", "USUBJID", "PARAMCD", "AVISITN"),
    ),
}
"""Label, structure, class and keys of each data set."""
_CODES = {"lesion": "LESPCT", "solid": "SOLPCT", "ground_glass": "GGOPCT"}
_WHEN_WRITTEN = re.compile(rb"\d{2}[A-Z]{3}\d{2}:\d{2}:\d{2}:\d{2}")
_LONGEST_NAME, _LONGEST_LABEL, _LONGEST_TEXT = 8, 40, 200  # of a version 5 transport file
Record = dict[str, Cell]


def adam_files(
    changes: Sequence[Change], placements: Sequence[Placement], visits: Visits, config: TrialConfig
) -> dict[str, bytes]:
    """adsl.csv, adqs.csv and define.xml; with pyreadstat also SAS transport files of them, with labels.

    Parameters
    ----------
    changes
        From `changes_of`.
    placements
        From `place`.
    visits
        From `read_visits`.
    config
        ``[output]`` names the study; without a name nothing is written.

    Returns
    -------
    dict[str, bytes]
        By name of the file.

    Raises
    ------
    ConfigError
        If two columns would have the same short name.
    """
    study = config.output.adam_study.strip()
    if not study:
        return {}
    columns, labels = _subject_columns(visits)
    said = {column: (labels.get(column) or column) for column in columns} | _LABELS
    has_transport = importlib.util.find_spec("pyreadstat") is not None
    files: dict[str, bytes] = {}
    described = []
    for name, names, records in (
        ("adsl", columns, _subjects(visits, columns, study)),
        ("adqs", _ADQS, _parameters(changes, placements, visits, study)),
    ):
        files[f"{name}.csv"] = csv_bytes(names, records)
        kind = "xpt" if has_transport and records else "csv"
        if kind == "xpt":
            files[f"{name}.xpt"] = _transport(name.upper(), names, records, said)
        described.append(DataSet(name.upper(), *_ABOUT[name], names, said, records, f"{name}.{kind}"))
    return files | {"define.xml": define_xml(study, described)}


def column_labels(visits: Visits) -> dict[str, str]:
    """Label by column of both data sets.

    Parameters
    ----------
    visits
        From `read_visits`; a covariate is labelled with its name there.

    Returns
    -------
    dict[str, str]
        The labels of the implementation guide, and those of the covariates.
    """
    return {_short(column): column for column in visits.covariates} | _LABELS


def _subject_columns(visits: Visits) -> tuple[tuple[str, ...], dict[str, str]]:
    """Columns of ADSL and the labels of the covariates; a covariate is called by its first eight characters."""
    labels = {_short(column): column for column in visits.covariates}
    if len(labels) < len(visits.covariates) or set(labels) & set(_LABELS):
        raise TrialConfigError("output.adam_study: two covariates have the same first eight letters; rename one")
    return ("STUDYID", "USUBJID", "SUBJID", "TRT01P", "DTHFL", *labels), labels


def _subjects(visits: Visits, columns: Sequence[str], study: str) -> list[Record]:
    records = []
    for subject, rows in visits.rows.items():
        record: Record = {"STUDYID": study, "USUBJID": f"{study}-{subject}", "SUBJID": subject}
        record |= {
            "TRT01P": visits.arms.get(subject, ""),
            "DTHFL": "Y" if any(r.status == "died" for r in rows) else "",
        }
        for column, of in visits.covariates.items():
            text = of.get(subject, "")
            if column.casefold().endswith("fl"):
                record[_short(column)] = "Y" if text.casefold() in YES else "N" if text else ""
            else:
                record[_short(column)] = _typed(text, of)
        records.append({name: record.get(name, "") for name in columns})
    return records


def _typed(text: str, of: Mapping[str, str]) -> Cell:
    """A number where all the values of a covariate are numbers, else a text."""
    numeric = all(number_in(other) is not None for other in of.values())
    return number_in(text) if numeric else text


def _parameters(
    changes: Sequence[Change], placements: Sequence[Placement], visits: Visits, study: str
) -> list[Record]:
    order = {visit: n for n, visit in enumerate(dict.fromkeys(p.visit for p in placements))}
    records = []
    for c in changes:
        value, base = c.levels.get("value_percent"), c.levels.get("baseline_percent")
        if value is not None:
            one = Seen(c.subject, c.arm or "", c.visit, math.nan if base is None else base, value, c.day)
            name = f"{TITLES[c.measure]} (% of lung)"
            records.append(_record(one, (_CODES[c.measure], name), order, visits, study))
    for extra in (e for e in visits.extras if e.kind == "numeric"):
        known = values_at(placements, extra.column)
        for p in placements:
            if (p.subject, p.visit) in known:
                base = known.get((p.subject, visits.baseline), math.nan)
                arm, day = visits.arms.get(p.subject, ""), p.row.day if p.row else None
                one = Seen(p.subject, arm, p.visit, base, known[p.subject, p.visit], day)
                records.append(_record(one, (_short(extra.column), extra.column), order, visits, study))
    return sorted(records, key=lambda r: (str(r["USUBJID"]), str(r["PARAMCD"]), int(r["AVISITN"] or 0)))


def _record(one: Seen, parameter: tuple[str, str], order: Mapping[str, int], visits: Visits, study: str) -> Record:
    is_baseline, known = one.visit == visits.baseline, math.isfinite(one.baseline)
    change = one.value - one.baseline if known and not is_baseline else None
    return {
        "STUDYID": study,
        "USUBJID": f"{study}-{one.subject}",
        "TRTP": one.arm,
        "PARAMCD": parameter[0],
        "PARAM": parameter[1],
        "AVISIT": one.visit,
        "AVISITN": order[one.visit],
        "ADY": study_day(one.day),
        "AVAL": one.value,
        "BASE": one.baseline if known else None,
        "CHG": change,
        "PCHG": 100 * change / one.baseline if change is not None and one.baseline else None,
        "ABLFL": "Y" if is_baseline else "",
        "ANL01FL": "Y",
    }


def _short(column: str) -> str:
    return re.sub(r"[^A-Z0-9_]", "", column.upper())[:_LONGEST_NAME] or "COLUMN"


def _transport(name: str, columns: Sequence[str], records: Iterable[Record], labels: Mapping[str, str]) -> bytes:
    """SAS transport version 5: ASCII, at most 200 characters; the time of writing is left out of its header."""
    import pandas as pd
    import pyreadstat

    rows = list(records)
    frame = pd.DataFrame({column: [_ascii(row[column]) for row in rows] for column in columns})
    for column in columns:
        if any(isinstance(row[column], int | float) for row in rows):
            frame[column] = pd.to_numeric(frame[column])
        else:
            frame[column] = frame[column].fillna("")
    said = [(labels.get(column) or column)[:_LONGEST_LABEL] for column in columns]
    with temporary_folder() as folder:
        path = folder / f"{name.lower()}.xpt"
        pyreadstat.write_xport(frame, str(path), column_labels=said, table_name=name, file_format_version=5)
        return _WHEN_WRITTEN.sub(b"01JAN60:00:00:00", path.read_bytes())


def _ascii(value: Cell) -> Cell:
    return value.encode("ascii", "replace").decode("ascii")[:_LONGEST_TEXT] if isinstance(value, str) else value
