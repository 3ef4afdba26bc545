"""What the tools take and give, and the JSON Schemas of it."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from .content import MAX_TEXT

DEFAULT_PAGE = 256 * 1024
MAX_ENTRIES = 1000

FilePath = Annotated[
    str,
    Meta(
        description="Path of the file, relative to the served folder, with forward slashes, "
        'as list_directory and search give it, for example "projects/plan.md".'
    ),
]


class ListDirectory(Struct):
    path: Annotated[
        str,
        Meta(
            description="Path of the directory, relative to the served folder, with forward slashes. "
            "Leave it out for the folder itself."
        ),
    ] = ""


class ReadFile(Struct):
    path: FilePath
    offset: Annotated[
        int,
        Meta(
            ge=0,
            le=2**53,
            description="Byte to start from; 0 is the beginning. "
            "To go on with a long file, pass the offset that the last answer named.",
        ),
    ] = 0
    limit: Annotated[int, Meta(ge=1, description=f"Most bytes of text to give at once; at most {MAX_TEXT}.")] = (
        DEFAULT_PAGE
    )


class SearchFiles(Struct):
    query: Annotated[
        str,
        Meta(
            description="Words to look for in names and texts of files; there are no operators. "
            "Files that hold all of the words come first, and the last word may be the beginning of one. "
            "Empty gives the files changed last."
        ),
    ] = ""


class Fetch(Struct):
    id: Annotated[str, Meta(description="The id of a search result, which is the path of the file.")]


class WriteFile(Struct):
    path: FilePath
    content: Annotated[str, Meta(description="The whole new text of the file. What it held before is replaced.")]


class Entry(Struct, omit_defaults=True):
    name: str
    path: Annotated[str, Meta(description="Pass this to read_file or list_directory.")]
    type: Literal["file", "directory"]
    size: Annotated[int | None, Meta(description="Bytes.")] = None
    modified: Annotated[str | None, Meta(description="ISO 8601, UTC.")] = None


class Listing(Struct, omit_defaults=True):
    path: str
    entries: list[Entry]
    total: Annotated[int, Meta(description="How many entries the directory has.")]
    note: Annotated[str | None, Meta(description="Says so when not all of the entries are given.")] = None


class Result(Struct):
    id: Annotated[str, Meta(description="Pass this to fetch, or as the path to read_file.")]
    title: str
    url: str
    text: Annotated[str, Meta(description="A passage of the file.")]


class Results(Struct, omit_defaults=True):
    results: list[Result]
    note: Annotated[str | None, Meta(description="Says so when not all files could be searched yet.")] = None


class Fetched(Struct):
    id: str
    title: str
    text: str
    url: str
    metadata: Annotated[dict[str, str], Meta(description="Size, time of the last change, what was cut.")]


class Written(Struct):
    path: str
    created: Annotated[bool, Meta(description="False when a file of that name was replaced.")]
    size: Annotated[int, Meta(description="Bytes.")]


def schema(model: type[Struct]) -> dict[str, Any]:
    """The JSON Schema of ``model``, without references: not every client follows them."""
    [root], components = msgspec.json.schema_components([model], ref_template="{name}")

    def inlined(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return inlined(components[node["$ref"]])
            return {key: inlined(value) for key, value in node.items()}
        return [inlined(item) for item in node] if isinstance(node, list) else node

    found: dict[str, Any] = inlined(root)
    return found
