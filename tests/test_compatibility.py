"""docs/compatibility.md: the tests that a rule names are there, and every item that was collected has its rule."""

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMED = re.compile(r"`([\w/]+)::(test_\w+)`")
ROW = re.compile(r"^\| ([A-Z]\d+) \|", re.MULTILINE)
CITED = re.compile(r"^\| (\S+) \| [^|]+ \| ((?:[A-Z]\d+ ?)+|\N{EN DASH} [^|]+) \|$", re.MULTILINE)

DOCUMENT = (ROOT / "docs" / "compatibility.md").read_text()
RULES, SOURCES = DOCUMENT.split("\n## K. ")

# How much of each was collected: what a server must do, what users reported, what went wrong elsewhere.
COLLECTED = {
    "5": 23,
    "4.1": 18,
    "4.2": 16,
    "L1.1": 7,
    "L1.2": 6,
    "L1.3": 6,
    "L1.4": 7,
    "L1.5": 4,
    "L1.6": 6,
    "L1.7": 7,
    "L2": 8,
}
ITEMS = [
    *(f"{part}.{number}" for part, count in COLLECTED.items() for number in range(1, count + 1)),
    *("4.1.+", "4.2.+1", "4.2.+2", "4.3", "ours"),
]


@pytest.mark.parametrize("rule", [line for line in RULES.splitlines() if ROW.match(line)], ids=lambda rule: rule[2:5])
def test_a_rule_names_tests_that_are_there(rule):
    named = NAMED.findall(rule)
    assert named
    for file, test in named:
        text = (ROOT / "tests" / f"{file}.py").read_text()
        assert re.search(rf"^ *(async )?def {test}\(", text, re.MULTILINE), test


def test_a_rule_is_there_once():
    assert [rule for rule, count in Counter(ROW.findall(RULES)).items() if count > 1] == []


def test_every_item_has_a_rule_or_a_reason_and_every_rule_an_item():
    cited = CITED.findall(SOURCES)
    assert Counter(item for item, _ in cited) == Counter(ITEMS)
    named = {rule for _, rules in cited if not rules.startswith("\N{EN DASH}") for rule in rules.split()}
    # What comes from here is in the list of failures and mistakes too, or is a rule of its own.
    assert named == set(ROW.findall(RULES))
