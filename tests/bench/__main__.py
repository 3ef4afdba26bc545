"""`make bench`: requests a second as ratios of bare Tornado's, all measured in one run.

Each target is measured in turn with bare Tornado, several times over, and the best of each counts: what else
the machine does slows everything, and makes nothing faster.
"""

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

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


def call(tool: str, **arguments: str) -> object:
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


async def targets(server: LiveServer) -> list[Target]:
    """What mcpauth is measured with: its address, a token and, in the legacy era, an MCP session."""
    found = []
    for backend, message in (("echo", call("echo", text="hello")), ("files", call("read_file", path="note.md"))):
        client = OAuthClient(server.origin, server.origin)
        path = f"/mcp/{backend}"
        browser = Browser(server.origin, server.origin)
        await client.connect(browser, "ada", PASSWORD, resource=server.origin + path)
        begun = await client.initialize(path)
        headers = {
            "Authorization": f"Bearer {client.tokens['access_token']}",
            "Mcp_Session_Id": begun.headers["Mcp-Session-Id"],
            "MCP_Protocol_Version": "2025-11-25",
        }
        kind = "tools/call to a stdio child" if backend == "echo" else "tools/call to files"
        found.append(Target(f"{kind}, legacy era", server.port, post(path, message, **headers)))
    found.append(Target("no token: 401", server.port, post("/mcp/echo", call("echo")), "401"))
    return found


async def measure(bare: Target, target: Target, connections: int) -> None:
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
        (directory / "data").mkdir(mode=0o700)
        (directory / "notes").mkdir()
        (directory / "notes" / "note.md").write_text("hello\n")
        servers = {
            "echo": {"command": sys.executable, "args": [str(HERE / "echo_child.py")]},
            "files": {"builtin": "files", "root": "../notes"},
        }
        (directory / "data" / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
        (directory / "data" / "mcp.json").chmod(0o600)
        port = free_port()
        bare = await asyncio.create_subprocess_exec(
            sys.executable, str(HERE / "bare.py"), str(port), stdout=asyncio.subprocess.PIPE
        )
        try:
            assert bare.stdout is not None
            await bare.stdout.readline()
            async with LiveServer(directory) as server:
                settings = {"MCP_OAUTH_PORT": str(server.port)}
                await run(directory, "user", "add", "ada", "--owner", "--password-stdin", typed=PASSWORD, **settings)
                compared = Target("bare", port, post("/mcp/echo", call("echo", text="hello")))
                for target in await targets(server):
                    for connections in (16, 1):
                        await measure(compared, target, connections)
        finally:
            bare.terminate()
            await bare.wait()


asyncio.run(main())
