"""The present scan against an earlier result: same person, older, then the change and its grade."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import Any

from volumetry.codes import CATALOGUE
from volumetry.deliver.people import READER
from volumetry.domain import PriorVisit, Status
from volumetry.errors import InputError
from volumetry.storage.salt import same_patient
from volumetry.trial.comparability import PairGrade, grade_pair
from volumetry.trial.config import load_trial_config
from volumetry.trial.results import PIXELS, ScanRow

MEASURES = ("lesion", "ground_glass", "solid")
_OF_THE_SCANNER = ("thickness_mm", "kvp")
_FACTS = ("kernel", "manufacturer", "model_name", "patient_position", "contrast")
_OF_THE_LUNG = ("mean_lung_hu", "lesion_weight_hu_ml")

Document = Mapping[str, Any]


def require_same_person(now: Document, earlier: Document) -> None:
    """Stop unless both results are of one person.

    Parameters
    ----------
    now, earlier
        result.json of each.

    Raises
    ------
    InputError
        ``PATIENT_UNKNOWN`` where one of them does not state its patient, or states it under another secret;
        ``OTHER_PATIENT`` where they are of two persons.
    """
    here, there = (document["provenance"].get("patient_digest") for document in (now, earlier))
    if not here:
        raise _refused(
            "this scan does not state whose it is: there is no PatientID of its own in the header, or no place "
            "for the secret that its digest needs",
            "PATIENT_UNKNOWN",
            "Compare the two reports by eye, or ask for the series with its PatientID.",
        )
    if not there or here.partition("-")[0] != there.partition("-")[0]:
        raise _refused(
            f"whether the prior {earlier['scan_id']} is of the same patient cannot be known: it was measured on "
            "another installation, with another secret",
            "PATIENT_UNKNOWN",
        )
    if not same_patient(here, there):
        which = "PatientID" if here.split("-")[1:2] != there.split("-")[1:2] else "IssuerOfPatientID (0010,0021)"
        message = f"the prior {earlier['scan_id']} is of another patient: its {which} is not that of this scan"
        raise _refused(message, "OTHER_PATIENT")


def require_older(now: Document, earlier: Document) -> int:
    """Stop unless the earlier result is of an earlier day; else by how many days.

    Parameters
    ----------
    now, earlier
        result.json of each.

    Returns
    -------
    int
        Days between them, at least 1.

    Raises
    ------
    InputError
        ``PRIOR_NOT_OLDER`` if it is not older, or a date is missing.
    """
    dates = [_date((document.get("series") or {}).get("acquisition_date")) for document in (earlier, now)]
    which = [f"the prior {earlier['scan_id']}", "this scan"]
    for day, name in zip(dates, which, strict=True):
        if day is None:
            message = f"{name} does not state a date of acquisition, so it is not known which is older"
            raise _refused(message, "PRIOR_NOT_OLDER", _NO_DATE)
    first, second = (day for day in dates if day is not None)
    if first >= second:
        message = f"the prior {earlier['scan_id']} of {first} is not older than this scan of {second}"
        raise _refused(message, "PRIOR_NOT_OLDER")
    return (second - first).days


def visit_of(now: Document, earlier: Document) -> PriorVisit:
    """How far the present result is from an earlier one.

    Parameters
    ----------
    now, earlier
        result.json of each, of the same person.

    Returns
    -------
    PriorVisit
        With the grade of the pair.

    Raises
    ------
    InputError
        ``PRIOR_NOT_OLDER`` if it is not older, or a date is missing.
    """
    days = require_older(now, earlier)
    rows = scan_row(earlier), scan_row(now)
    grade = grade_pair(*rows, load_trial_config().pair)
    more = tuple(_made_otherwise(now, earlier))
    same_rule = rule_of(now) == rule_of(earlier)
    compared = MEASURES if same_rule else ("lesion",)
    return PriorVisit(
        scan_id=earlier["scan_id"],
        acquisition_date=earlier["series"]["acquisition_date"],
        days_before=days,
        reading=earlier.get("reading", "automatic"),
        volumes_ml={name: float(earlier["volumes_ml"][name]) for name in ("lung", *MEASURES)},
        percent_of_lung={name: float(earlier["percent_of_lung"][name]) for name in MEASURES},
        interval_percent={
            name: (float(ends[0]), float(ends[1]))
            for name, ends in (earlier.get("interval_percent") or {}).items()
        },
        change_ml={name: now["volumes_ml"][name] - earlier["volumes_ml"][name] for name in ("lung", *compared)},
        change_points={name: now["percent_of_lung"][name] - earlier["percent_of_lung"][name] for name in compared},
        grade=_worst(grade, more),
        reasons=(*grade.reasons, *more),
        unknown=grade.unknown,
        lung_volume_ratio=grade.volume_ratio,
        predicted_shift_percent=grade.predicted_shift_percent,
    )


def require_one_result_a_day(priors: Iterable[Document]) -> None:
    """Stop if two priors are of one day: they would be two rows of one visit, such as a result and its correction.

    Parameters
    ----------
    priors
        result.json of each.

    Raises
    ------
    InputError
        ``PRIOR_REPEATED``
    """
    seen: dict[date, Document] = {}
    for prior in priors:
        day = _date((prior.get("series") or {}).get("acquisition_date"))
        if day is None:
            continue
        if day in seen:
            named = " and ".join(dict.fromkeys((seen[day]["scan_id"], prior["scan_id"])))
            raise _refused(f"two priors are of the same day, {day}: {named}", "PRIOR_REPEATED")
        seen[day] = prior


_NO_DATE = (
    "Measure that scan again from an export with its date: AcquisitionDate (0008,0022) or StudyDate (0008,0020)."
)


def _refused(message: str, code: str, hint: str | None = None) -> InputError:
    """The advice is the catalogue's, with the element to look at: what InputError advises is about folders."""
    row = CATALOGUE[code]
    return InputError(message, code, hint or f"{row.hint} Element: {row.tag}." if row.tag else row.hint)


def _date(text: object) -> date | None:
    try:
        return datetime.strptime(str(text), "%Y%m%d").date()  # noqa: DTZ007  a day without a time
    except ValueError:
        return None


def scan_row(document: Document) -> ScanRow:
    """A result as the trial's rows have it; what is not known is absent.

    Parameters
    ----------
    document
        result.json of a measured scan.
    """
    series, made = document.get("series") or {}, document["provenance"]
    numbers = {f"series.{name}": series.get(name) for name in _OF_THE_SCANNER}
    numbers |= {name: document.get(name) for name in _OF_THE_LUNG}
    facts = {f"series.{name}": series.get(name) for name in _FACTS} | {PIXELS: made.get("pixels_sha256")}
    return ScanRow(
        document["scan_id"],
        Status(document["status"]),
        None,
        percent=document["percent_of_lung"],
        ml=document["volumes_ml"],
        numbers={name: float(value) for name, value in numbers.items() if value is not None},
        facts={
            name: str(value).lower() if value in (True, False) else str(value)
            for name, value in facts.items()
            if value not in (None, "")
        },
        flags=tuple(flag["code"] for flag in document.get("flags", ())),
    )


def rule_of(document: Document) -> tuple[object, ...]:
    """What divides the lesion: the rule, and the cuts where it is one of HU.

    Parameters
    ----------
    document
        result.json of a measured scan.
    """
    rule = document.get("component_rule")
    return rule, *(sorted(document.get("hu_bins_ml") or ()) if rule == "hu" else ())


def _made_otherwise(now: Document, earlier: Document) -> Iterator[str]:
    """What of the difference may be the program's or a reader's instead of the patient's."""
    made, before = now["provenance"], earlier["provenance"]
    readings = [document.get("reading", "automatic") for document in (now, earlier)]
    if readings[0] != readings[1]:
        yield "READER_IN_ONE:B"
    if READER not in readings and made.get("model_sha256") != before.get("model_sha256"):
        yield "MODEL_CHANGED:C"
    if made.get("config_sha256") != before.get("config_sha256"):
        yield "SETTINGS_CHANGED:B"
    if rule_of(now) != rule_of(earlier):
        yield "RULE_CHANGED:B"
    if earlier.get("status") == Status.REVIEW:
        yield "PRIOR_FLAGGED:B"


def _worst(grade: PairGrade, reasons: tuple[str, ...]) -> str:
    return max(grade.grade, *(reason.rpartition(":")[2] for reason in reasons), "A")
