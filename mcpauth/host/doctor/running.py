"""What the running server says of itself."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from ... import __version__
from ...errors import OperationError
from ...models.findings import Finding
from ...settings import Settings

CHECK = "server"
START = "python server.py   (or: systemctl --user start mcpauth)"
RESTART = "stop the server, and start it again"
# It asks tailscaled, which may take its time.
SECONDS = 5.0
ANOTHERS = "the data directory is another user's"
ENTRY = "correct its entry in mcp.json; it is tried again"
ENDED = "look in the log for all that it wrote: backend_stderr with that reference; it is tried again"
NOT_AGAIN = "it runs and could not be asked again"
AGAIN = (
    "it is asked again when its process has ended; if only one of it can run at a time, its entry in mcp.json needs "
    '"share": "user", or "all" where several people use it'
)

# Raises OSError when no server listens, OperationError when it refuses.
Ask = Callable[[str, dict[str, Any]], Awaitable[Any]]


class Running:
    """``status`` is what the server said; None when none answers, and then ``reason`` is why."""

    def __init__(self, status: dict[str, Any] | None, reason: str = "") -> None:
        self.status, self.reason = status, reason

    @property
    def failed(self) -> dict[str, str]:
        """The servers that do not work, and why. Another version may say less."""
        servers = [] if self.status is None else self.status.get("servers", [])
        return {one["name"]: one.get("reason") or "it failed" for one in servers if one.get("state") == "failed"}

    @classmethod
    async def ask(cls, ask: Ask) -> "Running":
        try:
            async with asyncio.timeout(SECONDS):
                return cls(await ask("status", {}))
        except TimeoutError:
            return cls(None, "it does not answer")
        except PermissionError:
            return cls(None, ANOTHERS)
        except OperationError as error:
            return cls(None, str(error))
        except OSError:
            return cls(None)


def look(running: Running, settings: Settings, held: bool, lacks: Mapping[str, Finding]) -> list[Finding]:
    """``held``: a process has the data directory, whether it answers or not. ``lacks`` is what failed servers lack."""
    if running.status is not None:
        return list(_said(running.status, running.failed, settings, lacks))
    if running.reason == ANOTHERS:
        return [Finding.problem(CHECK, f"it cannot be asked: {ANOTHERS}", "run this as that user")]
    if running.reason or held:
        reason = running.reason or "it does not listen to commands: it is starting or stopping, or it hangs"
        return [Finding.problem(CHECK, f"a server has the data directory, and {reason}", f"{RESTART}, as its user")]
    return [Finding.problem(CHECK, "it is not running", START)]


def _said(
    status: dict[str, Any], failed: Mapping[str, str], settings: Settings, lacks: Mapping[str, Finding]
) -> Iterator[Finding]:
    version, listens = status["version"], status.get("listensOn")
    if version != __version__:
        # It may say less, or other things.
        yield Finding.warning(CHECK, f"it runs as version {version}, and {__version__} is installed", RESTART)
        return
    yield Finding.fine(CHECK, f"version {version} listens on {listens}")
    for name, its, ours in (
        ("MCP_OAUTH_PUBLIC_URL", status["publicUrl"], settings.origin),
        ("where it listens", listens, settings.listens_on),
    ):
        if its != ours:
            found = f"{name}: the server was started with {its}, and the settings say {ours} now"
            yield Finding.problem("settings", found, RESTART)
    if status["ownerNeeded"]:
        yield Finding.warning(
            "owner",
            "there is none yet: nobody can sign in",
            "open the setup link that the server printed, or: python server.py user add NAME --owner",
        )
    for one in status["servers"]:
        name, check = one["name"], f"server {one['name']}"
        if name in failed:
            yield lacks.get(name) or _failed(check, failed[name], one.get("lastLine"))
        elif one["state"] == "ok":
            tools = "1 tool" if len(one["tools"]) == 1 else f"{len(one['tools'])} tools"
            if again := one.get("reason"):
                found = _wrote(f"{tools} as before, for {NOT_AGAIN}: {again}", one.get("lastLine"))
                yield Finding.warning(check, found, AGAIN)
            else:
                yield Finding.fine(check, tools)
        else:
            so_far = _wrote(one.get("reason") or "it is starting", one.get("lastLine"))
            yield Finding.fine(check, f"{so_far}; look again in a moment")


def _failed(check: str, reason: str, last_line: str | None) -> Finding:
    return Finding.problem(check, _wrote(reason, last_line), ENDED if "log reference" in reason else ENTRY)


def _wrote(what: str, last_line: str | None) -> str:
    return f"{what}; it wrote last: {last_line}" if last_line else what
