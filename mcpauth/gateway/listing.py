"""What a backend lists in one era: tools, prompts, resources and templates, each definition as it came."""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from . import frames, tools
from .frames import Frame


class Kind(NamedTuple):
    """``method`` lists them, as ``member`` of its result; each is asked for by its ``key``."""

    capability: str
    method: str
    member: str
    key: str

    @property
    def list_changed(self) -> str:
        return f"notifications/{self.capability}/list_changed"

    @property
    def announcement(self) -> str:
        """What asks for that, in the filter of a subscription."""
        return f"{self.capability}ListChanged"


TOOLS = Kind("tools", "tools/list", "tools", "name")
PROMPTS = Kind("prompts", "prompts/list", "prompts", "name")
RESOURCES = Kind("resources", "resources/list", "resources", "uri")
TEMPLATES = Kind("resources", "resources/templates/list", "resourceTemplates", "uriTemplate")

KINDS = (TOOLS, PROMPTS, RESOURCES, TEMPLATES)

LIST_CHANGED = frozenset(kind.list_changed for kind in KINDS)
# Changes of templates are told as those of resources.
ANNOUNCED = {kind.announcement: kind for kind in (TOOLS, PROMPTS, RESOURCES)}

# A longer key is nobody's: it could be neither stored nor sent in a header.
KEY_LENGTH = 4096

Definitions = dict[str, msgspec.Raw]

_definitions = msgspec.json.Decoder(list[msgspec.Raw])


class Listing:
    """``capabilities`` are those that the server declares; ``definitions`` come in its own order, by their keys."""

    def __init__(self, capabilities: Frame, definitions: dict[Kind, Definitions]) -> None:
        self.capabilities = capabilities
        self.definitions = {kind: definitions.get(kind, {}) for kind in KINDS}
        read = (tools.read(definition) for definition in self.definitions[TOOLS].values())
        self.tools = {tool.name: tool for tool in read if tool is not None}

    def without_tasks(self) -> "Listing":
        """For clients that cannot call a tool as a task: without the tools that can only be called so."""
        if not any(tools.EXECUTION in bytes(tool.definition) for tool in self.tools.values()):
            return self
        found = {tool.name: plain for tool in self.tools.values() if (plain := tools.plain(tool)) is not None}
        return Listing(self.capabilities, {**self.definitions, TOOLS: found})

    def with_others(self, other: "Listing") -> "Listing":
        """And what only the ``other`` has."""
        definitions: dict[Kind, Definitions] = {}
        for kind, own in self.definitions.items():
            others = {key: one for key, one in other.definitions[kind].items() if key not in own}
            definitions[kind] = own | others
        return Listing({**other.capabilities, **self.capabilities}, definitions)

    def declares(self, capability: str, option: str | None = None) -> bool:
        """Whether the server has it, and the ``option`` of it."""
        about = self.capabilities.get(capability)
        if about is None or bytes(about) == b"null":
            return False
        return option is None or bytes(frames.members(about).get(option, b"")) == b"true"

    def kinds(self) -> frozenset[Kind]:
        """Those of which there is something."""
        return frozenset(kind for kind in KINDS if self.definitions[kind])

    def differences(self, other: "Listing") -> frozenset[Kind]:
        """The kinds whose lists are not the same."""
        return frozenset(kind for kind in KINDS if _flat(self, kind) != _flat(other, kind))


def read(result: Frame, kind: Kind) -> Iterator[tuple[str, msgspec.Raw]]:
    """Of one page: what can be asked for, by its key; the rest is left out."""
    try:
        definitions = _definitions.decode(result[kind.member])
    except (KeyError, msgspec.DecodeError):
        return
    for definition in definitions:
        key = frames.text(frames.members(definition).get(kind.key))
        if key is not None and len(key) <= KEY_LENGTH:
            yield key, definition


def _flat(listing: Listing, kind: Kind) -> list[bytes]:
    return [bytes(definition) for definition in listing.definitions[kind].values()]
