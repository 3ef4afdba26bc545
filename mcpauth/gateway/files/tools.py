"""The tools: what each one does, and what a model is told about it."""

import asyncio
import base64
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, NamedTuple, ParamSpec, TypeVar
from urllib.parse import quote

import msgspec

from ...ambient import Ambient
from .content import MAX_TEXT, Image, Text, read
from .root import Parts, Refused, Root
from .schemas import (
    MAX_ENTRIES,
    Entry,
    Fetch,
    Fetched,
    ListDirectory,
    Listing,
    ReadFile,
    Result,
    Results,
    SearchFiles,
    WriteFile,
    Written,
    schema,
)
from .search import Search
from .writing import write

MAX_RESULTS = 20
THREADS = 4
# A file read a moment ago is in the system's memory: reading it again does not wait for a disk, and is
# cheaper than a thread.
WARM_SECONDS, WARM_BYTES, WARM_FILES = 10.0, 64 * 1024, 1000

P = ParamSpec("P")
T = TypeVar("T")
ToolResult = dict[str, Any]


class Tool(NamedTuple):
    title: str
    description: str
    run: Callable[[Any], Awaitable[ToolResult]]
    arguments: type[msgspec.Struct]
    result: type[msgspec.Struct] | None = None
    writes: bool = False

    def definition(self, name: str) -> dict[str, Any]:
        annotations = {
            "title": self.title,
            "readOnlyHint": not self.writes,
            "destructiveHint": self.writes,
            "idempotentHint": True,
            "openWorldHint": False,
        }
        given = {
            "name": name,
            "title": self.title,
            "description": self.description,
            "inputSchema": schema(self.arguments),
            "annotations": annotations,
        }
        return given if self.result is None else given | {"outputSchema": schema(self.result)}


class Tools:
    def __init__(self, root: Root, search: Search, ambient: Ambient, *, writable: bool) -> None:
        self._root, self._search, self._ambient = root, search, ambient
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="files")
        self._warm: dict[Parts, float] = {}
        self._tools = self._reading() | (self._writing() if writable else {})

    def __contains__(self, name: str) -> bool:
        return name in self._tools

    def definitions(self) -> list[dict[str, Any]]:
        return [tool.definition(name) for name, tool in self._tools.items()]

    async def call(self, name: str, arguments: dict[str, Any]) -> ToolResult:
        """The result of a tool that is here; a tool error when it cannot do what it was asked."""
        tool = self._tools[name]
        # Models send null for what they leave out, and numbers as strings.
        if None in arguments.values():
            arguments = {key: value for key, value in arguments.items() if value is not None}
        try:
            return await tool.run(msgspec.convert(arguments, tool.arguments, strict=False))
        except msgspec.ValidationError as error:
            return _error(f"these arguments do not fit: {error}")
        except Refused as error:
            return _error(error.message)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _reading(self) -> dict[str, Tool]:
        return {
            "list_directory": Tool(
                "List a directory",
                "List the files and directories in a directory of the served folder, sorted by name. "
                "Start here, without a path, to see what there is. Hidden files and links are left out.",
                self._list_directory,
                ListDirectory,
                Listing,
            ),
            "read_file": Tool(
                "Read a file",
                "Read a text file, or look at an image (PNG, JPEG, GIF, WebP). "
                "A long text comes in pages: the answer then ends with the offset to go on from.",
                self._read_file,
                ReadFile,
            ),
            "search": Tool(
                "Search files",
                "Find files by words in their name or text; the best matches come first, each with a passage. "
                "Then use fetch with a result's id to get the whole text.",
                self._find,
                SearchFiles,
                Results,
            ),
            "fetch": Tool(
                "Fetch a search result",
                f"Get the text of a file that search found, up to {MAX_TEXT} bytes. "
                "Use read_file for images and to page through longer files.",
                self._fetch,
                Fetch,
                Fetched,
            ),
        }

    def _writing(self) -> dict[str, Tool]:
        return {
            "write_file": Tool(
                "Write a file",
                "Create a text file, or replace the whole text of one. Missing directories are made. "
                "To change part of a file, read it first and write it back whole.",
                self._write_file,
                WriteFile,
                Written,
                writes=True,
            )
        }

    async def _list_directory(self, arguments: ListDirectory) -> ToolResult:
        return _structured(await self._in_thread(self._listing, self._root.parts(arguments.path)))

    async def _read_file(self, arguments: ReadFile) -> ToolResult:
        found = await self._read(self._root.parts(arguments.path), arguments.offset, arguments.limit)
        if isinstance(found, Image):
            data = base64.b64encode(found.data).decode()
            return {"content": [{"type": "image", "data": data, "mimeType": found.mime_type}]}
        content = [{"type": "text", "text": found.text}]
        if found.end < found.size:
            text = f"[bytes {found.start} to {found.end} of {found.size}; go on with offset {found.end}]"
            content.append({"type": "text", "text": text})
        elif arguments.offset > found.size:
            raise Refused(f"the offset is beyond the end: the file has {found.size} bytes")
        return {"content": content}

    async def _find(self, arguments: SearchFiles) -> ToolResult:
        found = await self._search.find(arguments.query, MAX_RESULTS)
        results = [
            Result(hit.path, hit.path.rpartition("/")[2], self._url(hit.path), hit.snippet) for hit in found.hits
        ]
        note = f"{found.missing}; search again in a moment for the rest" if found.missing else None
        return _structured(Results(results, note))

    async def _fetch(self, arguments: Fetch) -> ToolResult:
        parts = self._root.parts(arguments.id)
        found = await self._read(parts, 0, MAX_TEXT)
        path = "/".join(parts)
        if isinstance(found, Image):
            raise Refused(f"{path} is an image; use read_file to look at it")
        metadata = {"size": str(found.size)}
        if found.end < found.size:
            metadata["truncated"] = f"go on with read_file, offset {found.end}"
        return _structured(Fetched(path, parts[-1], found.text, self._url(path), metadata))

    async def _write_file(self, arguments: WriteFile) -> ToolResult:
        parts, data = self._root.parts(arguments.path), arguments.content.encode()
        existed = await self._in_thread(write, self._root, parts, data, unique=self._ambient.identifier())
        await self._search.changed(parts)
        return _structured(Written("/".join(parts), not existed, len(data)))

    def _listing(self, parts: Parts) -> Listing:
        entries = self._root.entries(parts)
        entries.sort(key=lambda entry: (entry.name.casefold(), entry.name))
        total, prefix = len(entries), "".join(f"{part}/" for part in parts)
        shown = [
            Entry(name, prefix + name, "directory")
            if stat is None
            else Entry(name, prefix + name, "file", stat.st_size, _iso(stat.st_mtime))
            for name, stat in entries[:MAX_ENTRIES]
        ]
        note = f"only the first {MAX_ENTRIES} of {total} are given; use search to find the others"
        return Listing("/".join(parts), shown, total, note if total > MAX_ENTRIES else None)

    async def _read(self, parts: Parts, offset: int, limit: int) -> Text | Image:
        now = self._ambient.instant()
        if now - self._warm.get(parts, 0.0) < WARM_SECONDS:
            found = self._read_now(parts, offset, limit)
        else:
            found = await self._in_thread(self._read_now, parts, offset, limit)
        if isinstance(found, Text) and found.size <= WARM_BYTES:
            if len(self._warm) >= WARM_FILES:
                self._warm.clear()
            self._warm[parts] = now
        else:
            self._warm.pop(parts, None)
        return found

    def _read_now(self, parts: Parts, offset: int, limit: int) -> Text | Image:
        descriptor, stat = self._root.open(parts)
        try:
            return read(descriptor, stat.st_size, offset, limit)
        except OSError as error:
            raise Refused(f"{'/'.join(parts)} cannot be read: {error.strerror}") from None
        finally:
            os.close(descriptor)

    async def _in_thread(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """A slow disk, or a network's, holds up nobody else."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: job(*args, **kwargs))

    def _url(self, path: str) -> str:
        return self._root.uri + quote(path)


def _structured(value: msgspec.Struct) -> ToolResult:
    """As structured content, and the same as text for clients that know only that."""
    encoded = msgspec.json.encode(value)
    text = {"type": "text", "text": encoded.decode()}
    return {"content": [text], "structuredContent": msgspec.Raw(encoded)}


def _error(message: str) -> ToolResult:
    return {"content": [{"type": "text", "text": message}], "isError": True}


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
