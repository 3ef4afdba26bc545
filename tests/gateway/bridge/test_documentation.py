"""docs/bridging.md names tests that exist, one for each cell."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
TABLES = (TESTS.parents[1] / "docs" / "bridging.md").read_text()

ROWS = [line.strip("|").split("|") for line in TABLES.splitlines() if line.startswith("| ") and "::" in line]
NAMED = re.compile(r"`([\w/.]+)::(\w+)`")


def test_there_are_both_tables():
    assert len(ROWS) > 30
    assert {len(row) for row in ROWS} == {3}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip())
def test_every_cell_names_a_test(row):
    for cell in row[1:]:
        found = NAMED.findall(cell)
        assert found, cell
        for file, name in found:
            tree = ast.parse((TESTS / file).read_text())
            assert name in {part.name for part in tree.body if isinstance(part, ast.AsyncFunctionDef | ast.FunctionDef)}
