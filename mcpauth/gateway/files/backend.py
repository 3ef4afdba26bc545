"""The `files` backend: an MCP server in our own process, in both eras' protocol."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ... import __version__, log
from ...ambient import Ambient
from ...errors import BackendUnavailable, GatewayError
from ..backend import ENDED, RETIRED
from ..children import IDLE_STOP
from ..eras import LEGACY, MODERN, SERVER, has_envelope
from ..frames import Frame, raw
from ..modern.caller import Caller
from ..modern.parameters import ByTool
from .root import Refused, Root
from .search import Search
from .tools import Tools

logger = logging.getLogger(__name__)

METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = -32601, -32602, -32603

INSTRUCTIONS = (
    "These are files in one folder on the owner's machine. Paths are relative to that folder. "
    "Find files with search or list_directory, then read them with fetch or read_file."
)

S = TypeVar("S", bound=msgspec.Struct)

_JSONRPC = raw("2.0")
_NULL = raw(None)
_EMPTY = raw({})

# What modern results say beside what they hold. A folder changes without our being told.
_COMPLETE: dict[str, Any] = {"resultType": "complete"}
_UNCACHED: dict[str, Any] = {**_COMPLETE, "ttlMs": 0, "cacheScope": "private"}


class FilesBackend:
    legacy_only = False
    starts_processes = False
    last_line = ""
    idle_stop = IDLE_STOP
    announces = True

    def __init__(self, name: str, root: Path, *, write: bool, index: Path, data_dir: Path, ambient: Ambient) -> None:
        """``index`` is the search index's file; ``data_dir`` is never served, but ``files`` in it."""
        self.name = name
        self._root = Root(root, data_dir, uri=f"files://{name}/")
        self._search = Search(name, self._root, index, ambient)
        self._tools = Tools(self._root, self._search, ambient, writable=write)
        tools = {"tools": self._tools.definitions()}
        self._tool_list, self._modern_tool_list = raw(tools), raw(_UNCACHED | tools)
        self._running, self._retired = 0, False
        self._info = {"name": "mcpauth-files", "title": f"Files ({name})", "version": __version__}

    async def start(self) -> None:
        try:
            await asyncio.to_thread(self._root.check)
        except Refused as error:
            raise BackendUnavailable(f'{error.message}: change "root" of "{self.name}" in mcp.json') from None
        self._search.start()

    async def open(self, listener: Callable[[Frame], None], caller: Caller | None = None) -> "FilesSession":
        return FilesSession(self)

    async def join(self, caller: Caller) -> "FilesSession":
        return FilesSession(self, modern=True)

    def runs(self, caller: Caller) -> bool:
        return True

    @property
    def busy(self) -> bool:
        return self._running > 0

    @property
    def proven(self) -> bool:
        return False

    def retire(self) -> None:
        self._retired = True

    def repeat(self, parameters: ByTool) -> None:
        """There are no headers."""

    def on_changed(self, tell: Callable[[], None]) -> None:
        """They do not."""

    def stop_idle(self) -> None:
        """Nothing runs."""

    def end_grant(self, grant_id: str) -> None:
        """Nothing is any grant's."""

    async def close(self) -> None:
        await self._search.close()
        self._tools.close()

    def kill(self) -> None:
        """There is no process."""

    def request(self, frame: Frame, *, modern: bool) -> AsyncIterator[Frame]:
        if self._retired:
            raise BackendUnavailable(RETIRED)
        return self._respond(frame, modern)

    async def _respond(self, frame: Frame, modern: bool) -> AsyncIterator[Frame]:
        answer: Frame = {"jsonrpc": _JSONRPC, "id": frame["id"]}
        self._running += 1
        try:
            method = msgspec.json.decode(frame["method"], type=str)
            reply = self._answer_modern if modern else self._answer
            answer["result"] = await reply(method, frame.get("params", _NULL))
        except _Failure as failure:
            answer["error"] = raw({"code": failure.code, "message": str(failure)})
        except Exception:
            logger.exception("files_request_failed", extra=log.fields(backend=self.name))
            answer["error"] = raw({"code": INTERNAL_ERROR, "message": "internal error"})
        finally:
            self._running -= 1
        yield answer

    async def _answer_modern(self, method: str, params: msgspec.Raw) -> msgspec.Raw:
        """The result of a modern request. Raises _Failure for what becomes a JSON-RPC error."""
        match method:
            case "tools/call":
                return raw(_COMPLETE | await self._call(_params(params, _Call)))
            case "tools/list":
                return self._modern_tool_list
            case "server/discover":
                return raw(_UNCACHED | self._discovered())
        raise _Failure(METHOD_NOT_FOUND, f"method not found: {method}")

    async def _answer(self, method: str, params: msgspec.Raw) -> msgspec.Raw:
        """The same of a legacy request."""
        match method:
            case "tools/call":
                return raw(await self._call(_params(params, _Call)))
            case "tools/list":
                return self._tool_list
            case "initialize":
                return raw(self._initialized(_params(params, _Initialize).protocol_version))
            case "ping":
                return _EMPTY
        raise _Failure(METHOD_NOT_FOUND, f"method not found: {method}")

    async def _call(self, call: "_Call") -> dict[str, Any]:
        if call.name not in self._tools:
            raise _Failure(INVALID_PARAMS, f"unknown tool: {call.name}")
        return await self._tools.call(call.name, call.arguments or {})

    def _discovered(self) -> dict[str, Any]:
        return {
            "supportedVersions": MODERN,
            "capabilities": {"tools": {}},
            "instructions": INSTRUCTIONS,
            "_meta": {SERVER: self._info},
        }

    def _initialized(self, asked: str) -> dict[str, Any]:
        return {
            "protocolVersion": asked if asked in LEGACY else LEGACY[-1],
            "capabilities": {"tools": {}},
            "serverInfo": self._info,
            "instructions": INSTRUCTIONS,
        }


class FilesSession:
    """Sessions hold nothing: every request is answered from the folder as it is.

    One that is not of the ``modern`` era may be of none yet, and be asked what there is in either.
    """

    def __init__(self, backend: FilesBackend, *, modern: bool = False) -> None:
        self._backend, self._modern = backend, modern

    def request(self, frame: Frame) -> AsyncIterator[Frame]:
        return self._backend.request(frame, modern=self._modern or has_envelope(frame))

    def cancel(self, answers: Any, error: GatewayError) -> None:
        """None takes long."""

    async def notify(self, frame: Frame) -> None:
        """There is nothing to be told: no request of ours is open, and none of theirs takes long."""

    async def close(self, reason: str = ENDED) -> None:
        """Nothing is held."""

    def client_is_away(self) -> None:
        """Nothing runs."""

    runs = serves = True


class _Failure(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Call(msgspec.Struct):
    name: str
    arguments: dict[str, Any] | None = None


class _Initialize(msgspec.Struct, rename="camel"):
    protocol_version: str = LEGACY[-1]


def _params(params: msgspec.Raw, model: type[S]) -> S:
    try:
        return msgspec.json.decode(params, type=model)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _Failure(INVALID_PARAMS, f"invalid params: {error}") from None
