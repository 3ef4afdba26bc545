"""data/control.sock: commands reach the running server, so that they take effect at once."""

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from . import log
from .errors import MCPAuthError, OperationError, WrongUsage

logger = logging.getLogger(__name__)

NAME = "control.sock"
LONGEST = 1024 * 1024

Run = Callable[[str, dict[str, Any]], Awaitable[Any]]


class ControlServer:
    """One line of JSON asks, one line answers. Whoever may open the socket may do everything."""

    def __init__(self, path: Path, run: Run) -> None:
        self._path, self._run = path, run
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        if not hasattr(asyncio, "start_unix_server"):
            logger.warning("control_unavailable", extra=log.fields(reason="there are no Unix sockets on this system"))
            return
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        # Relative to its folder: the path of a socket must be shorter than many home folders' are.
        with contextlib.chdir(self._path.parent):
            listener.bind(self._path.name)
        self._path.chmod(0o600)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=LONGEST)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = json.loads(await reader.readline())
            try:
                answer = {"result": await self._run(asked["operation"], asked["arguments"])}
            except MCPAuthError as error:
                answer = {"error": str(error), "usage": isinstance(error, WrongUsage)}
            except Exception as error:
                logger.error("operation_failed", exc_info=error, extra=log.fields(operation=asked["operation"]))
                answer = {"error": "the server could not do this; its log says why"}
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (ValueError, KeyError, TypeError, ConnectionError):
            logger.warning("control_request_refused")
        finally:
            writer.close()


async def ask(directory: Path, operation: str, arguments: dict[str, Any]) -> Any:
    """What the running server answers. Raises OperationError for its refusals, OSError when none listens."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        with contextlib.chdir(directory):
            connection.connect(NAME)
    except OSError:
        connection.close()
        raise
    reader, writer = await asyncio.open_unix_connection(sock=connection, limit=LONGEST)
    try:
        writer.write(json.dumps({"operation": operation, "arguments": arguments}).encode() + b"\n")
        await writer.drain()
        line = await reader.readline()
    finally:
        writer.close()
    if not line:
        raise OperationError("the server closed the connection; its log says why")
    answer = json.loads(line)
    if "error" in answer:
        raise (WrongUsage if answer.get("usage") else OperationError)(answer["error"])
    return answer["result"]
