"""The generated parts of the documentation, made from the program itself when the site is built.

A hook of mkdocs (``hooks:`` in mkdocs.yml): the line ``<!-- generated: NAME -->`` of a page is replaced by what
the function NAME below returns, so that the tables are never out of date and none is committed. ``python
docs/generate.py FOLDER`` writes the pages with their generated parts, and the schema, as files, to be read without
mkdocs.
"""

import argparse
import importlib
import inspect
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel
from typer.main import get_command

from volumetry.deliver.schema import schema_bytes

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = "result.schema.json"
NOTEBOOK = ROOT / "docs" / "notebooks" / "first-steps.ipynb"

_UNITS = (
    ("_mm3", "mm³"),
    ("_cm2", "cm²"),
    ("_mm", "mm"),
    ("_ml", "mL"),
    ("_hu", "HU"),
    ("_deg", "degrees"),
    ("_mb", "MB"),
    ("_gb", "GB"),
    ("_s", "s"),
    ("_years", "years"),
    ("_percent", "%"),
    ("_points", "points of lung"),
    ("_day", "days"),
    ("_share", "fraction"),
    ("_ratio", "ratio"),
    ("_probability", "probability"),
    ("_dice", "Dice"),
)
_UNITS_BY_NAME = {
    "kvp": "kV",
    "kvp_tolerance": "kV",
    "hu_cuts": "HU",
    "hu_offset": "HU",
    "threshold_step": "probability",
    "lesion_percent_below": "%",
    "ci_level": "fraction",
    "interval_level": "fraction",
    "volume_b": "fraction",
    "volume_c": "fraction",
}
_LIMITS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


def on_files(files: Any, config: Any) -> Any:
    """Publish the schema of result.json beside the pages; mkdocs calls this once for each build."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, SCHEMA, content=schema_bytes()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the generated parts into a page; mkdocs calls this for every page."""
    return re.sub(r"^<!-- generated: (\w+) -->$", lambda marked: PARTS[marked[1]](), markdown, flags=re.MULTILINE)


# --- codes ---


_SUBJECTS = {
    "scan": "Scans",
    "mask": "Lung masks",
    "other_file": "Files that are not slices",
    "export": "DICOM objects of a result",
    "input": "Other inputs of a command",
    "batch": "Scans of a batch, compared with each other",
    "ours": "Failures of the program, and stops of a command",
}


def codes() -> str:
    """The catalogue of codes: what each does under either profile, what to do about it, and who can answer."""
    from volumetry.codes import CATALOGUE, About

    parts = []
    for about in sorted(About, key=list(_SUBJECTS).index):
        rows = [_code_row(code) for code in CATALOGUE.values() if code.about is about]
        head = ("code", "default", "trial", "ask", "what to do")
        parts += [f"## {_SUBJECTS[about]}", _table(head, rows)]
    return "\n\n".join(parts)


def _code_row(code: Any) -> tuple[str, ...]:
    outcomes = ("fail", "fail") if code.ours else (str(code.outcome), str(code.trial_outcome))
    advice = f"{code.hint} Query to the site: {code.request}" if code.request else code.hint
    if code.why:
        advice += f" Default profile: {code.why}"
    if code.tag:
        advice += f" Element: {code.tag}."
    return (f"`{code.name}`", *outcomes, code.ask if _raises_query(code) else "", advice)


def _raises_query(code: Any) -> bool:
    """Whether ``queries.csv`` can have a line for a code: not for what a command refuses, nor for mere notes."""
    from volumetry.codes import About, Outcome

    if code.about in (About.INPUT, About.BATCH):
        return bool(code.outcome is Outcome.NOTE)
    return not code.ours and not {code.outcome, code.trial_outcome}.isdisjoint((Outcome.FLAG, Outcome.REFUSE))


# --- settings ---


def settings() -> str:
    """Every setting of a measurement: default, unit, allowed values, meaning."""
    from volumetry.config import Config

    return "\n\n".join(_sections("default.toml", Config))


def trial_settings() -> str:
    """Every setting of the trial tables."""
    from volumetry.trial.config import TrialConfig

    return "\n\n".join(_sections("trial.toml", TrialConfig))


def _sections(name: str, model: type[BaseModel]) -> Iterator[str]:
    text = (ROOT / "configs" / name).read_text("utf-8")
    values = tomllib.loads(text)
    comments = settings_comments(text)
    yield from _section("", {k: v for k, v in values.items() if not isinstance(v, Mapping)}, comments, model)
    for section, table in values.items():
        if isinstance(table, Mapping):
            below = model.model_fields[section].annotation
            yield f"### `[{section}]`"
            if comments.get((section, "")):
                yield f"{_sentence(comments[section, ''])}."
            yield from _section(section, table, comments, below)


def _section(
    section: str,
    values: Mapping[str, Any],
    comments: Mapping[tuple[str, str], str],
    model: Any,
) -> Iterator[str]:
    rows = []
    for key, value in values.items():
        meaning = _sentence(comments.get((section, key), ""))
        rows.append((f"`{key}`", f"`{_toml(value)}`", _unit(key), _allowed(model, key), meaning))
    if rows:
        yield _table(("key", "default", "unit", "allowed", "meaning"), rows)


def settings_comments(text: str) -> dict[tuple[str, str], str]:
    """The comment of every section and key of a settings file, by section and key; a section's own key is empty.

    A comment stands behind its value, in the lines that follow it and hold nothing else, or in the lines above.
    """
    found: dict[tuple[str, str], str] = {}
    section, here, above = "", ("", ""), ""
    for line in text.splitlines():
        head = re.match(r"\[(\w+)\]\s*(?:#\s*(.*))?$", line)
        key = re.match(r"(\w+)\s*=\s*(.*)$", line)
        if head:
            section, here, above = head[1], (head[1], ""), ""
            found[here] = head[2] or ""
        elif key:
            here, behind = (section, key[1]), _comment(key[2])
            found[here] = f"{above} {behind}".strip()
            above = ""
        elif line.startswith("#"):
            above = f"{above} {line.lstrip('# ')}".strip()
        elif line.strip().startswith("#"):
            found[here] = f"{found.get(here, '')} {line.strip().lstrip('# ')}".strip()
        elif line.startswith("]"):
            found[here] = f"{found.get(here, '')} {_comment(line)}".strip()
        elif not line.strip():
            above = ""
    return found


def _comment(rest: str) -> str:
    """What stands behind the first # that is not inside a string."""
    return re.sub(r'^(?:[^"#]|"[^"]*")*#?', "", rest).strip()


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        if value and isinstance(value[0], Mapping):
            return f"{len(value)} tables"
        return f"[{', '.join(_toml(item) for item in value)}]"
    return json.dumps(value) if isinstance(value, str) else f"{value}"


def _unit(key: str) -> str:
    return _UNITS_BY_NAME.get(key) or next((unit for end, unit in _UNITS if key.endswith(end)), "")


def _allowed(model: Any, key: str) -> str:
    field = model.model_fields[key]
    schema = model.model_json_schema()["properties"][key]
    choices = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    limits = [
        f"{word} {getattr(rule, name):g}"
        for rule in field.metadata
        for name, word in _LIMITS.items()
        if getattr(rule, name, None) is not None
    ]
    return ", ".join(limits)


def _sentence(text: str) -> str:
    text = text.strip().removeprefix("...").strip()
    return text[:1].upper() + text[1:]


# --- results ---


def results() -> str:
    """The result dictionary: every key of result.json, which is a column of results.csv."""
    from volumetry.deliver.dictionary import result_dictionary_markdown

    return result_dictionary_markdown().rstrip()


def schema() -> str:
    """Where the schema that `on_files` publishes is to be found."""
    return (
        f"Every result satisfies the JSON Schema [{SCHEMA}]({SCHEMA}). In Python it is "
        "`volumetry.deliver.result_schema()`."
    )


def batch_columns() -> str:
    """The columns of a batch's results.csv that say whose a scan is."""
    from volumetry.deliver.batch_columns import COLUMNS

    return _table(("column", "meaning"), [(f"`{name}`", meaning) for name, meaning in COLUMNS.items()])


def people() -> str:
    """The columns of a batch's results.csv that say what people decided and corrected."""
    from volumetry.deliver.people import COLUMNS

    return _table(("column", "meaning"), [(f"`{column.name}`", column.meaning) for column in COLUMNS])


# --- commands ---


def commands() -> str:
    """Every command with its arguments, options, defaults and example."""
    from volumetry.cli import app

    group: Any = get_command(app)
    context = typer.Context(group, info_name="volumetry")
    parts: list[str] = []
    panel = ""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command.rich_help_panel != panel:
            panel = command.rich_help_panel
            parts.append(f"## {panel}")
        parts += [
            f"### volumetry {name}",
            *_command(command, typer.Context(command, info_name=f"volumetry {name}")),
        ]
    return "\n\n".join(parts)


def _command(command: Any, context: Any) -> Iterator[str]:
    examples = []
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        text = " ".join(paragraph.split())
        if text.startswith("Example: "):
            examples.append(text.removeprefix("Example: "))
        else:
            yield text
    if examples:
        yield "```sh\n" + "\n".join(examples) + "\n```"
    rows = [
        (f"`{_names(p)}`", "required" if p.required else _default(p), getattr(p, "help", "") or "")
        for p in command.get_params(context)
        if p.name != "help"
    ]
    yield _table(("argument or option", "default", "meaning"), rows)


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.name).upper()
    return ", ".join((*parameter.opts, *parameter.secondary_opts))


def _default(parameter: Any) -> str:
    default = parameter.default
    if default is None or callable(default):
        return ""
    if parameter.param_type_name == "option" and isinstance(default, bool):
        return "on" if default else "off"
    return f"`{default}`"


# --- the Python interface ---


def api() -> str:
    """Every public name of the package, documented from its docstring."""
    volumetry = importlib.import_module("volumetry")
    parts: list[str] = []
    groups: dict[str, list[str]] = {"Functions": [], "Data types": [], "Errors": []}
    for name in volumetry.__all__:
        thing = getattr(volumetry, name)
        if name.startswith("__"):
            continue
        if inspect.isclass(thing) and issubclass(thing, BaseException):
            groups["Errors"].append(name)
        else:
            groups["Data types" if inspect.isclass(thing) else "Functions"].append(name)
    for title, names in groups.items():
        parts.append(f"## {title}")
        parts += [_documented(name, getattr(volumetry, name)) for name in names]
    return "\n\n".join(parts)


def _documented(name: str, thing: Any) -> str:
    where = f"{thing.__module__}.{thing.__qualname__}" if hasattr(thing, "__qualname__") else f"volumetry.{name}"
    return f"::: {where}\n    options:\n      heading_level: 3"


# --- the notebook ---


def notebook() -> str:
    """The notebook as a page: its text, its code and the outputs that it was saved with."""
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    parts: list[str] = []
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        parts += [text for output in cell["outputs"] for text in _output(output)]
    return "\n\n".join(parts)


def _output(output: Mapping[str, Any]) -> Iterator[str]:
    data = output.get("data", {})
    if "image/png" in data:
        encoded = "".join(data["image/png"]).strip()
        yield f'<img alt="output of the cell above" src="data:image/png;base64,{encoded}">'
    text = "".join(output.get("text", data.get("text/plain", "") if "image/png" not in data else ""))
    if text:
        yield f"```text\n{text.rstrip()}\n```"


# --- shared ---


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


PARTS = {
    part.__name__: part
    for part in (codes, settings, trial_settings, results, schema, batch_columns, people, commands, api, notebook)
}

if __name__ == "__main__":
    options = argparse.ArgumentParser(description="Write the pages as the site has them, and the schema.")
    options.add_argument("folder", type=Path)
    folder = options.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for page in sorted((ROOT / "docs").glob("*.md")):
        (folder / page.name).write_text(on_page_markdown(page.read_text("utf-8")), "utf-8")
    (folder / SCHEMA).write_bytes(schema_bytes())
