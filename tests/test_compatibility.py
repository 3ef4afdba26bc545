"""docs/compatibility.md: the tests that a rule names are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMED = re.compile(r"`([\w/]+)::(test_\w+)`")
ROW = re.compile(r"^\| ([A-Z]\d+) \|", re.MULTILINE)

DOCUMENT = (ROOT / "docs" / "compatibility.md").read_text()


@pytest.mark.parametrize(
    "rule", [line for line in DOCUMENT.splitlines() if ROW.match(line)], ids=lambda rule: rule[2:5]
)
def test_a_rule_names_tests_that_are_there(rule):
    named = NAMED.findall(rule)
    assert named
    for file, test in named:
        assert re.search(rf"^(async )?def {test}\(", (ROOT / "tests" / f"{file}.py").read_text(), re.MULTILINE), test
