"""Which test stands behind which promise: every code of the catalogue, every line of the contract, every fault.

    python tests/traceability.py [--out requirements.md]

Codes are found by reading the tests: a test stands behind a code if it names it, itself or in a table of its
module that it uses, or if it runs over the damages of the phantoms, each of which names what it must earn. An
example in the docstring of a check is a test of the codes that it shows. Lines of the contract and of the fault
list name their tests in ``contract.toml``. Naming is not proving: the table says where to look.
``architecture/test_traceability.py`` fails if a line has no test, or names one that does not exist.
"""

import argparse
import ast
import doctest
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from damage import DAMAGES, LEGAL

from volumetry.codes import CATALOGUE, Outcome

TESTS = Path(__file__).resolve().parent
PRODUCT = TESTS.parent / "volumetry"
_BY_DAMAGE = {
    "test_damage_is_refused": {d.expect for d in DAMAGES.values() if d.outcome is Outcome.REFUSE},
    "test_damage_is_flagged": {d.expect for d in DAMAGES.values() if d.outcome is Outcome.FLAG},
    "test_legal_series_keeps_its_numbers": {d.expect for d in LEGAL.values() if d.expect},
}
"""Tests of end_to_end/test_catalogue.py that run over the phantoms' damages, and the codes these must earn."""
_LISTS = frozenset({"test_every_decidable_code_has_an_entry"})
"""Tests that only list codes."""


@dataclass(frozen=True)
class Promise:
    """A line of the contract or of the fault list, and the tests that stand behind it."""

    kind: str
    says: str
    tests: tuple[str, ...]


def promises() -> tuple[Promise, ...]:
    """Every line of contract.toml."""
    written = tomllib.loads((TESTS / "contract.toml").read_text("utf-8"))
    return tuple(Promise(kind, line["says"], tuple(line["tests"])) for kind in written for line in written[kind])


def codes_by_test() -> dict[str, frozenset[str]]:
    """Every test as ``folder/file.py::name``, with the codes it names."""
    found: dict[str, frozenset[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        tables = dict(_tables(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                used = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
                codes = _codes(node).union(*(tables[name] for name in used & set(tables)))
                if path.name == "test_catalogue.py":
                    codes |= _BY_DAMAGE.get(node.name, set())
                if path.name == "test_charter.py":
                    codes |= _charter_codes(node)
                if node.name in _LISTS:
                    codes = set()
                found[f"{path.relative_to(TESTS).as_posix()}::{node.name}"] = frozenset(codes)
    return found


def codes_by_example() -> dict[str, frozenset[str]]:
    """Every function with an example in its docstring as ``folder/file.py::name``, with the codes it shows."""
    found = {}
    for path in sorted(PRODUCT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef) and ">>>" in (text := ast.get_docstring(node) or ""):
                wanted = "\n".join(example.want for example in doctest.DocTestParser().get_examples(text))
                name = f"{path.relative_to(PRODUCT.parent).as_posix()}::{node.name}"
                found[name] = frozenset(_codes(ast.Constant(wanted)))
    return found


def all_by_code() -> dict[str, list[str]]:
    """Every code of the catalogue with the tests that name it."""
    functions = codes_by_test() | codes_by_example()
    return {code: [test for test, codes in functions.items() if code in codes] for code in CATALOGUE}


def _tables(tree: ast.Module) -> Iterator[tuple[str, set[str]]]:
    """Module-level names, and helpers, with the codes in them."""
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name) and node.value is not None:
                    yield target.id, _codes(node.value)
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("test_"):
            yield node.name, _codes(node)


def _codes(node: ast.AST) -> set[str]:
    texts = (n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str))
    return {word for text in texts for word in re.findall(r"[A-Z][A-Z0-9_]+", text) if word in CATALOGUE}


def _charter_codes(node: ast.AST) -> set[str]:
    """The charter's tests name its rules without their prefix."""
    words = {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    return {f"CHARTER_{word}" for word in words} & set(CATALOGUE)


def table() -> str:
    """The table as Markdown."""
    lines = [
        "# Promises and the tests behind them",
        "",
        "## Codes",
        "",
        "| code | outcome | tests |",
        "|---|---|---|",
    ]
    for code, tests in all_by_code().items():
        entry = CATALOGUE[code]
        trials = "" if entry.outcome is entry.trial_outcome else f", in trials {entry.trial_outcome}"
        lines.append(f"| `{code}` | {entry.outcome}{trials} | {_listed(tests)} |")
    for kind in dict.fromkeys(promise.kind for promise in promises()):
        lines += ["", f"## {kind.capitalize()}", "", "| line | tests |", "|---|---|"]
        lines += [f"| {p.says} | {_listed(p.tests)} |" for p in promises() if p.kind == kind]
    return "\n".join(lines) + "\n"


def _listed(tests: list[str] | tuple[str, ...]) -> str:
    return "<br>".join(f"`{test}`" for test in tests) or "**none**"


def main() -> int:
    """Command line."""
    options = argparse.ArgumentParser()
    options.add_argument("--out", type=Path)
    out = options.parse_args().out
    if out is None:
        sys.stdout.write(table())
    else:
        out.write_text(table(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
