"""No promise without a test: every code, every command, every exit code, every row of the fault list."""

import re

import pytest
from traceability import all_by_code, codes_by_test, promises, table
from typer.main import get_command

from volumetry import errors
from volumetry.cli import app
from volumetry.codes import CATALOGUE

BY_CODE = all_by_code()
FUNCTIONS = codes_by_test()


@pytest.mark.parametrize("code", CATALOGUE)
def test_every_code_has_a_test(code):
    assert BY_CODE[code], "no test names it"


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
