"""What is wrong in mcp.json, in the words of whoever writes it. A value is never said."""

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

COMMENT = ("//", "/*", "#")
SPARE_COMMA = re.compile(r",\s*([}\]])")

# What a key takes, where its type alone would not help.
KEYS = {
    "args": 'must be a list: ["-y", "foo"]',
    "allow": 'must be a list: ["read_*"]',
    "deny": 'must be a list: ["write_*"]',
    "tools": 'must be {"allow": […], "deny": […]}',
    "env": 'must be {"NAME": "value"}',
    "headers": 'must be {"Name": "value"}',
    "command": 'must be the program alone, in quotes; the rest belongs into "args"',
}
TYPES = {
    "missing": "it is missing",
    "string_type": 'must be text in quotes, a number too: "8080"',
    "string_unicode": "must be text without halves of characters",
    "string_too_short": "must not be empty",
    "path_type": "must be a path in quotes",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "greater_than_equal": "must be {ge} or more",
    "literal_error": "must be {expected}",
    "value_error": "{error}",
}
OF_KEYS = {"tuple_type", "model_type", "dict_type", "string_type"}


def of_json(text: str, error: json.JSONDecodeError) -> str:
    """Where it is no JSON, and what to look for there."""
    if text.startswith(COMMENT, error.pos):
        return f"line {error.lineno}: comments are not allowed in JSON"
    # The reader stumbles over what comes next, which may be lines below.
    last = max(len(text[: error.pos].rstrip()) - 1, 0)
    if comma := SPARE_COMMA.match(text, last) or SPARE_COMMA.match(text, error.pos):
        line = text.count("\n", 0, comma.start()) + 1
        return f"line {line}: a comma too many before {comma[1]}"
    return f"line {error.lineno}, column {error.colno}: {error.msg}"


def of_value(error: "ErrorDetails") -> str:
    """What should be in its place."""
    *above, key = error["loc"]
    if error["type"] in OF_KEYS and key in KEYS and above in ([], ["tools"]):
        return KEYS[str(key)]
    if error["type"] not in TYPES:
        return error["msg"]
    said = TYPES[error["type"]].format(**error.get("ctx", {}))
    return said.replace("'", '"')  # as JSON has it
