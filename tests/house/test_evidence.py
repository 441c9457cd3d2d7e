"""No promise without a test: every code, every command, every exit code, every row of the fault list."""

import re

import pytest
from evidence import GAPS, TESTS, all_by_code, codes_by_test, promises, table
from typer.main import get_command

from volumetry import errors
from volumetry.cli import app
from volumetry.codes import CATALOGUE

BY_CODE = all_by_code()
FUNCTIONS = codes_by_test()


@pytest.mark.parametrize("code", CATALOGUE)
def test_a_code_without_a_test_is_a_known_gap(code):
    assert bool(BY_CODE[code]) != (code in GAPS), f"{code}: {BY_CODE[code] or 'no test names it'}"


@pytest.mark.parametrize("code", GAPS)
def test_a_gap_is_a_code_that_nothing_raises(code):
    """Otherwise it would be earned untested."""
    package = TESTS.parent / "volumetry"
    raised = [p.name for p in package.rglob("*.py") if f'"{code}"' in p.read_text("utf-8")]
    assert set(raised) <= {"codes.py", "queries.py"}


@pytest.mark.parametrize("promise", promises(), ids=lambda promise: f"{promise.kind}: {promise.says[:50]}")
def test_every_promise_has_tests_that_exist(promise):
    assert promise.tests
    assert [test for test in promise.tests if test not in FUNCTIONS] == []


def test_every_command_and_every_exit_code_is_promised():
    lines = {kind: " ".join(p.says for p in promises() if p.kind == kind) for kind in ("commands", "exits")}
    assert set(re.findall(r"`volumetry ([a-z]+)", lines["commands"])) == set(get_command(app).commands)
    codes = {cls.exit_code for cls in vars(errors).values() if isinstance(cls, type) and hasattr(cls, "exit_code")}
    assert codes <= {int(number) for number in re.findall(r"\b\d+\b", lines["exits"])}


def test_the_table_has_a_line_for_each():
    text = table()
    assert all(f"| `{code}` |" in text for code in CATALOGUE)
    assert all(promise.says in text for promise in promises())


def test_the_search_does_not_count_a_mere_list():
    assert BY_CODE["MISSING_SLICES"]
    assert not any("decidable" in test for tests in BY_CODE.values() for test in tests)
