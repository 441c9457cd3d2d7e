"""Fail where the places that state the version of the program, or the day of its release, disagree.

    python .ci/check_version.py [REPOSITORY]

The version stands in `volumetry/__init__.py`, and pyproject.toml takes it from there. The newest release of the
changelog and CITATION.cff are written by hand and must state the same version and the same day.
"""

import re
import sys
import tomllib
from pathlib import Path

VERSION = r"\d+\.\d+\.\d+"
DAY = r"\d{4}-\d\d-\d\d"


def stated(repository: Path) -> tuple[dict[str, str | None], dict[str, str | None]]:
    """Versions and days of release, by the place that states them; None where a place states none."""

    def found(name: str, pattern: str) -> str | None:
        match = re.search(pattern, (repository / name).read_text("utf-8"), re.MULTILINE)
        return match[1] if match else None

    release = rf"^## \[?({VERSION})\]?"
    versions = {
        "volumetry/__init__.py": found("volumetry/__init__.py", rf'^__version__ = "({VERSION})"$'),
        "pyproject.toml": _of_the_project(repository),
        "CHANGELOG.md": found("CHANGELOG.md", release),
        "CITATION.cff": found("CITATION.cff", rf'^version: "?({VERSION})"?$'),
    }
    newest = re.escape(versions["CHANGELOG.md"] or "")
    days = {
        "CHANGELOG.md": found("CHANGELOG.md", rf"^## \[?{newest}\]? (?:—|-) ({DAY})$"),
        "CITATION.cff": found("CITATION.cff", rf'^date-released: "?({DAY})"?$'),
    }
    return versions, days


def _of_the_project(repository: Path) -> str | None:
    """The version under which the project is built: written out, or taken from the file that hatch is given."""
    settings = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))
    project = settings["project"]
    if "version" in project:
        return str(project["version"])
    if "version" not in project.get("dynamic", []):
        return None
    source = repository / settings["tool"]["hatch"]["version"]["path"]
    match = re.search(rf'^__version__ = "({VERSION})"$', source.read_text("utf-8"), re.MULTILINE)
    return match[1] if match else None


def main(repository: Path) -> int:
    """Print every place with what it states if they disagree; 1 then, else 0."""
    wrong = [values for values in stated(repository) if None in values.values() or len(set(values.values())) > 1]
    for values in wrong:
        print("\n".join(f"{place}: {value or 'states none'}" for place, value in values.items()))  # noqa: T201  its output
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1]))
