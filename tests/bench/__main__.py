"""`make bench`: requests a second as ratios of bare Tornado's, all measured in one run.

Each target is measured in turn with bare Tornado, several times over, and the best of each counts: what else
the machine does slows everything, and makes nothing faster. Words on the command line choose the targets.
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.browser import Browser
from tests.live import LiveServer, free_port, run
from tests.oauth_client import OAuthClient

HERE = Path(__file__).parent
ROUNDS, SECONDS = 3, 2.0
PASSWORD = "correct horse battery staple"


class Target(NamedTuple):
    name: str
    port: int
    request: str
    status: str = "200"


def post(path: str, message: object, **headers: str) -> str:
    body = json.dumps(message)
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    lines += ["Accept: application/json, text/event-stream", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", body])


def call(tool: str, arguments: dict[str, str]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}


async def load(target: Target, connections: int) -> dict[str, float]:
    orders = {
        "port": target.port,
        "request": target.request,
        "status": target.status,
        "connections": connections,
        "seconds": SECONDS,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(HERE / "load.py"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate(json.dumps(orders).encode())
    if process.returncode:
        raise SystemExit(f"{target.name}: the load failed")
    figures: dict[str, float] = json.loads(printed)
    return figures


LEGACY, MODERN = "2025-11-25", "2026-07-28"
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
}
# By backend: what it is, and what is called there.
CALLS = {
    "echo": [("a stdio child", "echo", {"text": "hello"})],
    "remote": [
        ("a server over HTTP", "echo", {"text": "hello"}),
        ("one that answers with a stream", "stream", {"text": "hello"}),
    ],
    "files": [("files", "read_file", {"path": "note.md"})],
}


async def targets(server: LiveServer) -> list[Target]:
    """What mcpauth is measured with: its address, a token and, in the legacy era, an MCP session."""
    found = []
    for backend, calls in CALLS.items():
        client = OAuthClient(server.origin, server.origin)
        path = f"/mcp/{backend}"
        browser = Browser(server.origin, server.origin)
        await client.connect(browser, "ada", PASSWORD, resource=server.origin + path)
        bearer = {"Authorization": f"Bearer {client.tokens['access_token']}"}
        begun = await client.initialize(path)
        legacy = {**bearer, "Mcp_Session_Id": begun.headers["Mcp-Session-Id"], "MCP_Protocol_Version": LEGACY}
        for what, tool, arguments in calls:
            message = call(tool, arguments)
            found.append(Target(f"tools/call to {what}, {LEGACY}", server.port, post(path, message, **legacy)))
            modern = {**bearer, "MCP_Protocol_Version": MODERN, "Mcp_Method": "tools/call", "Mcp_Name": tool}
            message["params"]["_meta"] = ENVELOPE
            found.append(Target(f"tools/call to {what}, {MODERN}", server.port, post(path, message, **modern)))
    found.append(Target("no token: 401", server.port, post("/mcp/echo", call("echo", {})), "401"))
    return found


async def measure(port: int, target: Target, connections: int) -> None:
    """``target``, and bare Tornado at ``port`` with the same request, its headers too."""
    bare = Target("bare", port, target.request)
    best: dict[Target, dict[str, float]] = {}
    for _ in range(ROUNDS):
        for one in (bare, target):
            figures = await load(one, connections)
            if one not in best or figures["rate"] > best[one]["rate"]:
                best[one] = figures
    ours, theirs = best[target], best[bare]
    print(
        f"{connections:>3} connections  {target.name:<42} {ours['rate'] / theirs['rate']:5.2f} of bare Tornado"
        f"   ({ours['rate']:6.0f}/s; median {ours['median'] / theirs['median']:.2f} times, {ours['median']:.0f} µs)",
        flush=True,
    )


async def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        port, remote_port = free_port(), free_port()
        prepare(directory, remote_port)
        async with serving("bare.py", port), serving("echo_http.py", remote_port), LiveServer(directory) as server:
            settings = {"MCP_OAUTH_PORT": str(server.port)}
            await run(directory, "user", "add", "ada", "--owner", "--password-stdin", typed=PASSWORD, **settings)
            for target in await targets(server):
                if not sys.argv[1:] or any(wanted in target.name for wanted in sys.argv[1:]):
                    for connections in (16, 1):
                        await measure(port, target, connections)


def prepare(directory: Path, remote_port: int) -> None:
    (directory / "data").mkdir(mode=0o700)
    (directory / "notes").mkdir()
    (directory / "notes" / "note.md").write_text("hello\n")
    servers = {
        "echo": {"command": sys.executable, "args": [str(HERE / "echo_child.py")]},
        "remote": {"url": f"http://127.0.0.1:{remote_port}/mcp"},
        "files": {"builtin": "files", "root": "../notes"},
    }
    (directory / "data" / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    (directory / "data" / "mcp.json").chmod(0o600)


@asynccontextmanager
async def serving(script: str, port: int) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(HERE / script), str(port), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        await process.stdout.readline()
        yield
    finally:
        process.terminate()
        await process.wait()


if __name__ == "__main__":
    asyncio.run(main())
