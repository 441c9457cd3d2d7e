"""Verbs around a result: look at it, take scans from an archive, send results back."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from volumetry.cli import common
from volumetry.cli.common import ONE_SCAN, ConfigFiles, Device, PriorResults, PriorScan, Quiet, app

if TYPE_CHECKING:
    from volumetry.archive.receive import Peer
    from volumetry.archive.tls import Tls
    from volumetry.config import Config
    from volumetry.deliver.dicom import DicomOptions
    from volumetry.domain import Segmenter
    from volumetry.prior import CorrectedPriors
    from volumetry.remeasure import DrawnOn
    from volumetry.web.corrections import Edit

Port = Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")]
Browser = Annotated[bool, typer.Option(help="Open the page in the browser.")]
Bundle = Annotated[
    Path | None, typer.Option(help="Authorities (PEM) against which the archive's certificate is checked.")
]
Certificate = Annotated[Path | None, typer.Option("--client-cert", help="Client certificate to present (PEM).")]
Key = Annotated[Path | None, typer.Option("--client-key", help="Key of the client certificate (PEM).")]
Url = Annotated[
    str,
    typer.Argument(help="DICOMweb address. Credentials are read from the environment (see the operations page)."),
]


@app.command(rich_help_panel=ONE_SCAN)
def view(
    result: Annotated[Path, typer.Argument(help="Folder of a result.")],
    scan: Annotated[Path | None, typer.Option(help="The scan that was measured, or its CT as NIfTI.")] = None,
    prior: Annotated[
        Path | None, typer.Option(help="Folder of the result of an earlier visit, shown beside it.")
    ] = None,
    prior_scan: Annotated[
        Path | None, typer.Option(help="The scan of the earlier visit, or its CT as NIfTI.")
    ] = None,
    port: Port = 0,
    browser: Browser = True,
    config: ConfigFiles = None,
) -> None:
    """Show CT and mask of a result in the browser, in three planes; the mask can be corrected there.

    Nothing leaves this machine. A correction is saved as `volumetry remeasure` saves it, and shown from then on in
    place of the automatic mask. A prior of another patient, or one that is not older, is refused.

    Example: volumetry view result --scan data-sample/phantom-001
    """
    from volumetry.prior import corrections_place, require_prior
    from volumetry.web.viewer import view as run

    common.must_be_folder(result)
    settings = common.settings_of(config)
    if prior is not None:
        require_prior(result, prior)

    def correct(edit: "Edit") -> tuple[dict[str, Any], str]:
        return _saved(result, scan, edit, settings if config else None, _shown_prior(prior, prior_scan, settings))

    run(
        result,
        settings,
        scan,
        prior,
        prior_scan,
        port=port,
        open_browser=browser,
        correct=correct,
        corrections_of=corrections_place,
        rule=settings.measure.component_rule if config else None,
        say=typer.echo,
    )


def _shown_prior(prior: Path | None, scan: Path | None, settings: "Config") -> "CorrectedPriors | None":
    """The prior that the viewer shows; None where it is no longer there, which must not cost the correction."""
    from volumetry.errors import VolumetryError
    from volumetry.prior import CorrectedPriors

    if prior is None:
        return None
    try:
        return CorrectedPriors([prior], scan, settings)
    except VolumetryError as stop:
        typer.echo(f"look: the correction is not compared with {prior}: {stop.message}", err=True)
        return None


def _saved(
    result: Path,
    scan: Path | None,
    edit: "Edit",
    settings: "Config | None",
    priors: "CorrectedPriors | None" = None,
) -> tuple[dict[str, Any], str]:
    """Measure a mask that was edited in the viewer; the correction's result.json and its name."""
    from volumetry.remeasure import DrawnOn

    drawn_on = DrawnOn(edit.drawn_on, edit.last)
    make = partial(_corrected, result, scan, edit.mask, edit.reader, edit.reason, settings)
    document, folder, _ = make(drawn_on=drawn_on, priors=priors)
    return document, folder.name


def _corrected(
    result: Path,
    scan: Path | None,
    mask: Path,
    reader: str,
    reason: str,
    settings: "Config | None",
    dicom: "DicomOptions | None" = None,
    drawn_on: "DrawnOn | None" = None,
    priors: "CorrectedPriors | None" = None,
) -> tuple[dict[str, Any], Path, str]:
    """Measure an edited mask, in the batch's log where the result is one of a batch; the last is that entry."""
    from volumetry.batch import batch_of, correct
    from volumetry.prior import CorrectedPriors
    from volumetry.remeasure import remeasure as run

    priors = priors or CorrectedPriors()
    make = partial(run, result, scan, mask, reader, reason, settings, dicom, drawn_on=drawn_on, priors=priors)
    out = batch_of(result)
    if out is None:
        return *make(), ""
    made, entry, note = correct(out, result.resolve().name, lambda parent: make(corrections=parent))
    if note:
        typer.echo(f"look: {note}", err=True)
    return *made, f", entry {entry['n']} of the batch's log"


@app.command(rich_help_panel=ONE_SCAN)
def remeasure(
    result: Annotated[Path, typer.Argument(help="Folder of the automatic result.")],
    mask: Annotated[
        Path,
        typer.Option(help="The edited mask on the scan's grid: NIfTI, DICOM SEG, .seg.nrrd, NRRD or MetaImage."),
    ],
    reader: Annotated[str, typer.Option(help="Name or code of the reader who edited the mask.")],
    reason: Annotated[str, typer.Option(help="Reason for the edit.")],
    scan: Annotated[
        Path | None,
        typer.Option(
            help="The scan that was measured, or its CT as NIfTI. Without it, quantities in HU are absent."
        ),
    ] = None,
    dicom: Annotated[
        bool, typer.Option("--dicom", help="Also write SEG and SR of the correction; needs --scan.")
    ] = False,
    prior: PriorResults = None,
    prior_scan: PriorScan = None,
    config: ConfigFiles = None,
    quiet: Quiet = False,
) -> None:
    """Measure a corrected mask; the automatic result stays unchanged beside it.

    The correction states the change since the priors of the automatic result, and since those given with --prior.
    If the result is part of a batch (OUT/scans/<scan_id>), the correction is entered in the batch's audit log, and
    its tables contain the reader's value from then on.

    Example: volumetry remeasure result --mask edited.nii.gz --reader R1 --reason "bases"
    """
    from volumetry.cli import show
    from volumetry.deliver.dicom import DicomOptions
    from volumetry.prior import CorrectedPriors

    common.must_be_folder(result)
    settings = common.settings_of(config) if config else None
    options = DicomOptions() if dicom else None
    for path in filter(None, (*(prior or ()), prior_scan)):
        common.must_be_there(path)
    priors = CorrectedPriors(prior or (), prior_scan, common.settings_of(config))
    document, folder, entered = _corrected(result, scan, mask, reader, reason, settings, options, priors=priors)
    for flag in document["flags"]:
        if flag["code"] == "CLASS_REMOVED":
            typer.echo(f"look: {flag['message']}", err=True)
    if not quiet:
        show.correction(document)
        typer.echo(f"correction {folder.name} in {folder}{entered}")


@app.command(rich_help_panel=ONE_SCAN)
def serve(
    keep: Annotated[
        Path | None,
        typer.Option(help="Folder in which results are kept; without it, they are removed when the command ends."),
    ] = None,
    port: Port = 0,
    browser: Browser = True,
    config: ConfigFiles = None,
    device: Device = None,
) -> None:
    """Open a page in the browser that measures the scan folders and zips dropped on it.

    Example: volumetry serve --keep results
    """
    from volumetry.deliver.report import write_report
    from volumetry.pipeline import Analysis
    from volumetry.web.drop_in import serve as run

    settings = common.settings_of(config, device)

    def with_report(document: dict[str, Any], analysis: Analysis, folder: Path) -> None:
        write_report(document, folder, settings, analysis.tissue, analysis.scan)

    def correct(result: Path, ct: Path | None, edit: "Edit") -> tuple[dict[str, Any], str]:
        return _saved(result, ct, edit, None)

    run(
        common.segmenter_of(settings),
        settings,
        keep=keep,
        port=port,
        open_browser=browser,
        on_delivered=with_report,
        correct=correct,
        say=typer.echo,
    )


@app.command(rich_help_panel=ONE_SCAN)
def pull(
    url: Url,
    study: Annotated[str, typer.Argument(help="StudyInstanceUID of the study.")],
    out: Annotated[Path, typer.Option(help="Folder for the DICOM files.")],
    series: Annotated[str | None, typer.Option(help="SeriesInstanceUID; the whole study by default.")] = None,
    ca_bundle: Bundle = None,
    client_cert: Certificate = None,
    client_key: Key = None,
) -> None:
    """Fetch a study or series from an archive by DICOMweb.

    Example: volumetry pull https://pacs.example/dicom-web 1.2.3 --out scan
    """
    from volumetry.archive.dicomweb import Access
    from volumetry.archive.dicomweb import pull as run

    access = Access.from_environment(ca_bundle=ca_bundle, client_certificate=client_cert, client_key=client_key)
    count = run(url, study, series, out, access)
    typer.echo(f"fetched {count} files")


@app.command(rich_help_panel=ONE_SCAN)
def push(
    url: Url,
    files: Annotated[list[Path], typer.Argument(help="DICOM files, e.g. result/seg.dcm result/sr.dcm.")],
    ca_bundle: Bundle = None,
    client_cert: Certificate = None,
    client_key: Key = None,
) -> None:
    """Send DICOM objects to an archive by DICOMweb.

    Example: volumetry push https://pacs.example/dicom-web result/seg.dcm result/sr.dcm
    """
    from volumetry.archive.dicomweb import Access
    from volumetry.archive.dicomweb import push as run

    access = Access.from_environment(ca_bundle=ca_bundle, client_certificate=client_cert, client_key=client_key)
    typer.echo(f"sent {run(url, files, access)} files")


@app.command(rich_help_panel=ONE_SCAN)
def receive(
    out: Annotated[Path, typer.Option(help="Folder for the results, one per study.")],
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 11112,
    ae_title: Annotated[str, typer.Option(help="AE title of this node.")] = "VOLUMETRY",
    host: Annotated[
        str, typer.Option(help="Address to listen on. Any host that reaches it can send: DICOM has no login.")
    ] = "127.0.0.1",
    caller: Annotated[
        list[str] | None, typer.Option(help="Calling AE title that is accepted; repeatable; by default any.")
    ] = None,
    quiet_s: Annotated[
        float, typer.Option(help="A study is complete after this many seconds without a new image.")
    ] = 10.0,
    late_s: Annotated[
        float,
        typer.Option(
            help="Images that arrive within this many seconds after their study was measured are added to it."
        ),
    ] = 300.0,
    send_to: Annotated[
        str | None, typer.Option(help="Node that receives SEG and SR (and the PDF), as host:port:AE.")
    ] = None,
    pdf: Annotated[
        bool, typer.Option("--pdf", help="Also write, and send back, the summary page as encapsulated PDF.")
    ] = False,
    tls_cert: Annotated[
        Path | None,
        typer.Option(help="Certificate of this node (PEM). All connections, outgoing ones too, then use TLS."),
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Key of that certificate (PEM).")] = None,
    tls_ca: Annotated[
        Path | None,
        typer.Option(
            help="Authorities (PEM) against which the certificates of callers and of the archive are checked."
        ),
    ] = None,
    config: ConfigFiles = None,
    device: Device = None,
    quiet: Quiet = False,
) -> None:
    """Run a C-STORE node that measures each complete study and sends SEG and SR back.

    Example: volumetry receive --out results --send-to 10.0.0.5:104:PACS
    """
    from volumetry.archive.receive import Node, store
    from volumetry.archive.receive import receive as run
    from volumetry.archive.tls import Tls
    from volumetry.storage.salt import patient_salt

    tls = Tls.from_files(tls_cert, tls_key, tls_ca)
    peer = None if send_to is None else _peer(send_to, tls)
    settings = common.settings_of(config, device)
    patient_salt()  # one that is too short stops the node here, and not each of its studies
    segmenter = common.segmenter_of(settings)

    def say(line: str) -> None:
        if not quiet:
            typer.echo(line)

    def measured(study: Path) -> list[Path]:
        return _measured_study(study, out, segmenter, settings, pdf, say)

    def sent(files: Sequence[Path]) -> int:
        return 0 if peer is None else store(peer, files, ae_title)

    run(
        Node(
            port,
            ae_title,
            host,
            tuple(caller or ()),
            quiet_s,
            late_s=late_s,
            max_incoming_gb=settings.receive.max_incoming_gb,
            tls=tls,
        ),
        out,
        measured,
        None if peer is None else sent,
        transit=Path(settings.receive.transit) if settings.receive.transit else None,
        say=say,
    )


def _measured_study(
    study: Path,
    out: Path,
    segmenter: "Segmenter",
    settings: "Config",
    pdf: bool,
    say: Callable[[str], None],
) -> list[Path]:
    """Measure a received study into a folder of its own; the DICOM objects to send back, if any.

    A study that is sent again comes into the same folder, so that the same content makes the same objects.
    """
    from volumetry.archive.earlier import result_folder, write_received
    from volumetry.archive.study_folders import study_of
    from volumetry.case import annex_of, dicom_objects, measured_folder
    from volumetry.deliver.dicom import DicomOptions, Export
    from volumetry.errors import OutputError
    from volumetry.storage.salt import patient_salt

    folder = result_folder(out, study_of(study))
    name = folder.name
    export = Export(study, settings, DicomOptions(pdf=pdf))
    analysis, document = measured_folder(
        study,
        folder,
        name,
        segmenter,
        settings,
        export=export,
        salt=patient_salt(),
        say=lambda sentence: say(f"{name}: {sentence}"),
        add=lambda _document, _analysis, making: write_received(study, making),
    )
    try:
        return dicom_objects(export, analysis, document, folder, annex_of(study, document, analysis))
    except OutputError as stop:
        if stop.code != "DICOM_NOT_POSSIBLE":
            raise
        say(f"{name}: {stop.message} [{stop.code}]")
        return []


def _peer(text: str, tls: "Tls | None") -> "Peer":
    from volumetry.archive.receive import Peer
    from volumetry.errors import UsageError

    host, _, rest = text.partition(":")
    number, _, title = rest.partition(":")
    if not (host and number.isdecimal() and title):
        raise UsageError("--send-to takes host:port:AE")
    return Peer(host, int(number), title, tls)
