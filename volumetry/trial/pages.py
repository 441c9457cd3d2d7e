"""Templates that ship with the room: everything that enters HTML is escaped, and a misspelt name is an error."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, select_autoescape

_PAGES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=select_autoescape(enabled_extensions=("html", "html.j2"), default=False),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def page(name: str) -> Template:
    """A template by its file name; those that end in ``.html.j2`` escape what they are given."""
    return _PAGES.get_template(name)
