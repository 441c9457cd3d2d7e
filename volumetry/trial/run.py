"""The whole room in one call: two tables in, one folder of tables, figures and a report out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from volumetry import __version__
from volumetry.deliver import new_result
from volumetry.deliver.tables import NAME as DICTIONARY
from volumetry.deliver.tables import dictionary_bytes, headers_of
from volumetry.storage.atomic import prepare_folder, write_json, write_whole
from volumetry.storage.csv_tables import Cell, csv_bytes
from volumetry.storage.digests import file_sha256
from volumetry.trial import (
    change,
    compare,
    families,
    layout,
    methods_text,
    missing,
    mixed,
    models,
    other_outcomes,
    outcomes,
    people,
)
from volumetry.trial.adam import adam_files, column_labels
from volumetry.trial.adverse import EventTable, read_events
from volumetry.trial.agreement import disagreements, require_agreement
from volumetry.trial.change import Change, changes_of
from volumetry.trial.compare import Comparison, Contrast, contrasts_of
from volumetry.trial.config import TrialConfig, load_trial_config
from volumetry.trial.estimands import imputations, restricted, strategies
from volumetry.trial.families import Decision, decided
from volumetry.trial.figures import Picture, pictures
from volumetry.trial.forest import forest_plots
from volumetry.trial.hu_bins import picture_of_bins
from volumetry.trial.measurement_error import with_measurement
from volumetry.trial.mixed import ModelDifference, repeated_measures
from volumetry.trial.models import Model, beside_the_table, observations
from volumetry.trial.outcomes import ArmSummary, Events, event_outcomes, numeric_outcomes, summaries
from volumetry.trial.paper import Paper, paper_of
from volumetry.trial.printed import Printed, comparison_tables, endpoint_tables, event_tables
from volumetry.trial.report import report_html, sentence, table_html
from volumetry.trial.results import ScanRow, read_results, results_file
from volumetry.trial.visit_windows import Placement, place
from volumetry.trial.visits import Visits, read_visits
from volumetry.trial.word import docx_bytes, docx_is_installed

TITLE = "CT endpoint: trial tables"
NAMES = (
    *("endpoint.csv", "changes.csv", "events.csv", "secondary.csv", "sensitivity.csv", "summary.csv"),
    *("missing.csv", "replaced.csv", "mixed.csv", "models.csv", "decisions.csv", "table.csv", "table.tex"),
    *(
        "consort.csv",
        "baseline.csv",
        "subgroups.csv",
        "adverse_events.csv",
        "agreement.csv",
        "hu_bins.csv",
        "tables.docx",
    ),
    *(
        "readings.csv",
        DICTIONARY,
        "adsl.csv",
        "adsl.xpt",
        "adqs.csv",
        "adqs.xpt",
        "define.xml",
        "table.html",
        "methods.txt",
        "report.html",
        "figures",
        "trial.json",
    ),
)


@dataclass(frozen=True, slots=True)
class Analysis:
    """Every number of the trial's tables.

    Parameters
    ----------
    visits, scans
        The two tables.
    placements
        Which row serves each analysis visit.
    changes
        From baseline, by subject, visit and measure.
    contrasts
        Each arm with the reference; (arm, None) where nothing is compared.
    endpoint, secondary, sensitivity, numeric
        Comparisons of the shares, of mL and mass, under other rules, and of further numeric columns.
    events
        Yes/no outcomes.
    summaries
        By arm and visit.
    models
        The repeated-measures model; empty unless the settings ask for it.
    analyses, decisions
        Rows of models.csv and of decisions.csv; empty unless the settings ask for them.
    missing
        Rows of missing.csv.
    paper
        Participants, baseline, events, subgroups and reader agreement.
    config
        The settings used.
    """

    visits: Visits
    scans: Mapping[str, ScanRow]
    placements: Sequence[Placement]
    changes: Sequence[Change]
    contrasts: Sequence[Contrast]
    endpoint: Sequence[Comparison]
    secondary: Sequence[Comparison]
    sensitivity: Sequence[Comparison]
    numeric: Sequence[Comparison]
    events: Sequence[Events]
    summaries: Sequence[ArmSummary]
    models: Sequence[ModelDifference]
    analyses: Sequence[Model]
    decisions: Sequence[Decision]
    missing: Sequence[Mapping[str, Cell]]
    paper: Paper
    config: TrialConfig


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """What a run made.

    Parameters
    ----------
    folder
        Where it lies.
    analysis
        The numbers.
    files_sha256
        Every file written, by its name in the folder.
    warnings
        What a reader must know before believing the table.
    """

    folder: Path
    analysis: Analysis
    files_sha256: Mapping[str, str]
    warnings: Sequence[str]


def run_trial(results: Path, visits: Path, out: Path, config: Path | None = None) -> TrialOutcome:
    """Read both tables, compute, and write endpoint.csv, changes.csv, events.csv, report.html, figures/ and more.

    Nothing is written before everything is computed; what an earlier run left is moved to ``out/earlier/<n>/``.
    ``trial.json`` is written last: a folder without it was not finished.

    Parameters
    ----------
    results
        A batch's folder, or a table with the columns of results.csv.
    visits
        visits.csv.
    out
        Folder for the tables; made if missing.
    config
        TOML file with differences from the shipped ``trial.toml``.

    Returns
    -------
    TrialOutcome
        The numbers, and the files written.

    Raises
    ------
    UsageError
        If a table is not there.
    TableError
        If a table is wrong; the message names row and column.
    ConfigError
        If a setting is wrong, or does not fit the table (the reference arm).
    OutputError
        If something cannot be written.
    """
    settings = load_trial_config(*([config] if config else []))
    scans = read_results(results)
    table = read_visits(visits, scans, settings)
    require_agreement(table, scans, visits.name)
    events = read_events(visits.parent, table.rows, settings)
    analysis = analyse(table, scans, settings, events)
    prepare_folder(out)
    warnings = [
        *methods_text.warnings_of(analysis.placements, analysis.visits, scans, analysis.changes, settings),
        *disagreements(table, scans),
    ]
    files = _files(analysis, warnings)
    sources = {"results": file_sha256(results_file(results)), "visits": file_sha256(visits)}
    sources |= {table.title: file_sha256(table.path) for table in events}
    return TrialOutcome(out, analysis, _write(files, out, settings, sources, warnings), warnings)


def analyse(
    visits: Visits, scans: Mapping[str, ScanRow], config: TrialConfig, events: Sequence[EventTable] = ()
) -> Analysis:
    """Every number from the two tables; reads and writes nothing.

    Parameters
    ----------
    visits
        From `read_visits`.
    scans
        From `read_results`.
    config
        From `load_trial_config`.
    events
        From `read_events`.

    Returns
    -------
    Analysis
        Every table.

    Raises
    ------
    ConfigError
        If no single arm is the reference, or the model is asked for and statsmodels is not installed.
    """
    everyone, visits = visits, restricted(visits, config)
    contrasts = contrasts_of(visits.arms.values(), config)
    placements = place(visits, config)
    changes = changes_of(visits, scans, config)
    endpoint = with_measurement(compare.endpoint(changes, contrasts, config), changes, config.statistics)
    numeric = numeric_outcomes(placements, visits, contrasts, config)
    seen = observations(changes, placements, visits, config)
    analyses = beside_the_table(seen, contrasts, visits, config)
    analyses += imputations(seen, contrasts, visits, config)
    sensitivity = compare.sensitivity(changes, contrasts, config)
    sensitivity += strategies(seen, contrasts, visits, config)
    paper = partial(paper_of, everyone=everyone, analysed=visits, scans=scans, events=events, config=config)
    return Analysis(
        visits=visits,
        scans=scans,
        placements=placements,
        changes=changes,
        contrasts=contrasts,
        endpoint=endpoint,
        secondary=compare.secondary(changes, contrasts, config),
        sensitivity=sensitivity,
        numeric=numeric,
        events=event_outcomes(placements, changes, visits, contrasts, config),
        summaries=summaries(placements, changes, visits, config),
        models=repeated_measures(changes, contrasts, config) if config.statistics.repeated_measures else [],
        analyses=analyses,
        decisions=decided([*endpoint, *numeric], analyses, contrasts, config),
        missing=missing.missing_values(changes, placements, visits),
        paper=paper(placements=placements, changes=changes, seen=seen, endpoint=endpoint),
        config=config,
    )


def _files(a: Analysis, warnings: Sequence[str]) -> dict[str, bytes]:
    """Every file's content by its name in the folder."""
    used = [a.scans[p.row.scan_id] for p in a.placements if p.row and p.row.scan_id]
    level = a.config.statistics.ci_level
    tables = [
        (contrast, layout.blocks_of(a.endpoint, a.summaries, a.changes, contrast)) for contrast in a.contrasts
    ]
    notes = methods_text.footnotes(a.visits, a.changes, used, a.config)
    methods = methods_text.methods(a.visits, a.changes, used, a.config)
    drawn: list[Picture] = [*pictures(a.changes, used, a.config), *picture_of_bins(a.paper.bins)]
    drawn += forest_plots(a.paper.subgroups, level)
    report = partial(report_html, title=TITLE, tables=tables, endpoint=a.endpoint, secondary=a.secondary)
    report = partial(report, sensitivity=a.sensitivity, numeric=a.numeric, events=a.events, models=a.models)
    report = partial(report, analyses=a.analyses, decisions=a.decisions)
    report = partial(report, before=a.paper.before_endpoint(), after=a.paper.after_endpoint(level))
    rows_of_endpoint = [row.row() for row in (*a.endpoint, *a.numeric)]
    files = {
        "endpoint.csv": csv_bytes(compare.COLUMNS, rows_of_endpoint),
        "changes.csv": csv_bytes(change.COLUMNS, (row.row() for row in a.changes)),
        "events.csv": csv_bytes(outcomes.EVENT_COLUMNS, (row.row() for row in a.events)),
        "secondary.csv": csv_bytes(compare.COLUMNS, (row.row() for row in a.secondary)),
        "sensitivity.csv": csv_bytes((*compare.COLUMNS, "analysis"), (row.row() for row in a.sensitivity)),
        "summary.csv": csv_bytes(outcomes.SUMMARY_COLUMNS, (row.row() for row in a.summaries)),
        "missing.csv": csv_bytes(missing.COLUMNS, a.missing),
        "readings.csv": csv_bytes(people.COLUMNS, people.readings(a.visits, a.scans)),
        "table.csv": layout.as_csv(tables),
        "table.tex": layout.as_latex(tables, notes, level),
        "table.html": table_html(tables, notes, level),
        "methods.txt": ("\n\n".join(methods) + "\n").encode("utf-8"),
        "report.html": report(
            changes=a.changes,
            missing=a.missing,
            pictures=drawn,
            methods=methods,
            footnotes=notes,
            warnings=warnings,
            level=level,
        ),
    }
    files |= a.paper.files()
    if docx_is_installed():
        lead = [sentence(row, level) for row in a.endpoint if row.primary]
        files["tables.docx"] = docx_bytes(TITLE, lead, _printed(a, tables, level), notes, methods)
    if a.visits.replaced:
        files["replaced.csv"] = csv_bytes(other_outcomes.REPLACED_COLUMNS, a.visits.replaced)
    if a.models:
        files["mixed.csv"] = csv_bytes(mixed.COLUMNS, (row.row() for row in a.models))
    files |= adam_files(a.changes, a.placements, a.visits, a.config)
    if a.analyses:
        files["models.csv"] = csv_bytes(models.COLUMNS, (row.row() for row in a.analyses))
    if a.decisions:
        files["decisions.csv"] = csv_bytes(families.COLUMNS, (row.row() for row in a.decisions))
    labels = column_labels(a.visits)
    files[DICTIONARY] = dictionary_bytes("trial", headers_of(files), {"adsl.csv": labels, "adqs.csv": labels})
    return files | {f"figures/{p.name}.{kind}": content for p in drawn for kind, content in p.files.items()}


def _printed(
    a: Analysis, tables: Sequence[tuple[Contrast, Sequence[layout.Block]]], level: float
) -> list[Printed]:
    """Every table of the Word document."""
    others = comparison_tables("Other numeric outcomes", a.numeric, a.contrasts, level)
    volumes = comparison_tables("Change in volume and mass", a.secondary, a.contrasts, level)
    yes_no = event_tables(a.events, a.contrasts, level)
    endpoint = endpoint_tables(tables, level)
    return [*a.paper.before_endpoint(), *endpoint, *yes_no, *others, *volumes, *a.paper.after_endpoint(level)]


def _write(
    files: Mapping[str, bytes], out: Path, config: TrialConfig, sources: Mapping[str, str], warnings: Sequence[str]
) -> dict[str, str]:
    with new_result(out, NAMES) as making:
        prepare_folder(making / "figures")
        written = {name: write_whole(making / name, content) for name, content in files.items()}
        record = {
            "software_version": __version__,
            "inputs_sha256": dict(sources),
            "config": config.model_dump(mode="json"),
            "config_sha256": config.sha256,
            "warnings": list(warnings),
            "files_sha256": written,
        }
        return written | {"trial.json": write_json(making / "trial.json", record)}
