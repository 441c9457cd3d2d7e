"""What every verb shares: the application, common options and settings."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from volumetry import __version__
from volumetry.config import Config, load_config

if TYPE_CHECKING:
    from volumetry.domain import Segmenter

app = typer.Typer(
    name="volumetry",
    help="Measure ground glass and consolidation on chest CT, in mL and as a percentage of the lung volume.",
    epilog=(
        "Exit codes: 0 done, 1 unexpected, 2 usage, 3 input refused, 4 configuration, 5 model, 6 segmentation, "
        "7 output, 8 batch finished with scans not measured, 9 failure of the program (time or memory limit), "
        "75 another run holds the folder, 130 and 143 interrupted."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--config",
        help="Settings that differ from the defaults (TOML), or the name of a shipped file, such as core-lab.",
    ),
]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print errors only.")]
Json = Annotated[Path | None, typer.Option("--json", help="Also write the findings as JSON.")]
PriorResults = Annotated[
    list[Path] | None,
    typer.Option(
        "--prior", help="Result of an earlier scan of the same patient: folder or result.json; repeatable."
    ),
]
PriorScan = Annotated[
    Path | None,
    typer.Option(help="The scan of the latest prior; its slices are shown beside those of this scan."),
]

ONE_SCAN, MANY_SCANS, TRIAL, MODELS = "One scan", "Many scans", "The trial", "Models and phantoms"
"""Panels of ``volumetry --help``, by who uses the verbs."""


def settings_of(files: list[Path] | None, device: str | None = None) -> Config:
    """Settings from the files given and the device option."""
    return load_config(*(files or []), overrides={"segment": {"device": device}} if device else {})


def segmenter_of(settings: Config) -> "Segmenter":
    """The model that the settings name, verified; or what ``--segmenter`` names."""
    from volumetry.memory import keep_freed_memory
    from volumetry.segment.factory import SHIPPED, segmenter_from

    keep_freed_memory()
    return segmenter_from(**named_segmenter() or {"factory": SHIPPED}, config=settings)


def named_segmenter() -> dict[str, str]:
    """What ``--segmenter`` names, as the keyword ``factory``; empty where the shipped one is meant."""
    return {"factory": _named_by_the_user} if _named_by_the_user else {}


_named_by_the_user: str | None = None


def _name_segmenter(name: str | None) -> None:
    """Keep what this command's ``--segmenter`` says, also for other threads, which do not have click's context."""
    global _named_by_the_user
    _named_by_the_user = name


def must_be_folder(path: Path) -> None:
    """Stop with words unless the path is a folder."""
    from volumetry.errors import UsageError

    if not path.is_dir():
        raise UsageError(f"{path.name} is not a folder")


def must_be_there(path: Path) -> None:
    """Stop with words unless the path is a folder or a file: a scan may be either."""
    from volumetry.errors import UsageError

    if not path.is_dir() and not path.is_file():
        raise UsageError(f"{path.name} is neither a folder nor a file")


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version.")
    ] = False,
    segmenter: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION",
            help="Measure with another segmenter: a function on PYTHONPATH that takes the settings.",
        ),
    ] = None,
) -> None:
    """Measure CT lung lesions."""
    _name_segmenter(segmenter)
