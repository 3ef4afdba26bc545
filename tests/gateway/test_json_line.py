import pytest

from mcpauth.gateway.json_line import line_of

TEXT = """\

{"env": {"b": 1},
 "mcpServers": {
  "x": {"command": "mcpServers", "b": [{"a": 1}, 2]},
  "a\\u0062": {"args": ["}", "b",
    7],
   "env":
    {"b": "x"}}, "empty": {}}}
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((), 2),
        (("mcpServers",), 3),
        (("mcpServers", "x", "b"), 4),
        (("mcpServers", "x", "b", 0, "a"), 4),
        (("mcpServers", "ab"), 5),
        (("mcpServers", "ab", "args", 2), 6),
        (("mcpServers", "ab", "env", "b"), 8),
        (("mcpServers", "ab", "missing"), 5),
        (("mcpServers", "ab", "args", "no key"), 5),
        (("mcpServers", "empty", "missing"), 8),
        (("missing", "mcpServers"), 2),
    ],
)
def test_the_line_of_what_a_path_leads_to(path, line):
    assert line_of(TEXT, path) == line
