"""Metadata documents of well-known clients, as their vendors published them; for when one cannot be fetched.

A document whose client_id has ``{callback_id}`` in it stands for all that a vendor publishes for single connections.
"""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ..models.records import ClientMetadata
from . import client_metadata_document

DIRECTORY = Path(__file__).parent / "client_documents"
PLACEHOLDER = "{callback_id}"
CALLBACK_ID = r"([A-Za-z0-9_-]{1,64})"


class _Shipped(NamedTuple):
    pattern: re.Pattern[str]
    text: str


def find(client_id: str) -> ClientMetadata | None:
    for shipped in _all():
        if match := shipped.pattern.fullmatch(client_id):
            text = shipped.text.replace(PLACEHOLDER, match.group(1)) if match.groups() else shipped.text
            return client_metadata_document.read(client_id, json.loads(text))
    return None


@cache
def _all() -> tuple[_Shipped, ...]:
    """Those for one client first: a name such as codex looks like a callback id too."""
    documents: list[dict[str, Any]] = [json.loads(path.read_text())["document"] for path in DIRECTORY.glob("*.json")]
    documents.sort(key=lambda document: PLACEHOLDER in document["client_id"])
    return tuple(
        _Shipped(
            re.compile(re.escape(document["client_id"]).replace(re.escape(PLACEHOLDER), CALLBACK_ID)),
            json.dumps(document),
        )
        for document in documents
    )
