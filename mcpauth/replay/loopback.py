"""The redirect URI of a client that is played on this computer (RFC 8252 §7.3)."""

import asyncio
import shlex
from urllib.parse import urlsplit

from aiohttp import web

from ..errors import StepFailed
from .sequence import Client, Run

PAGE = """<!doctype html><meta charset="utf-8"><title>Back at the terminal</title>
<body style="font: 18px system-ui; margin: 4em auto; max-width: 30em">
<h1>That was all here</h1><p>You can close this tab; the terminal says how it went.</p>"""
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
PATIENCE = 600
# For these a person has to decide once more.
AGAIN = ("authorize", "deny")
ONCE = "What it does later is left out, because you would be asked once more; --way {} plays that too."
MOVED = "That it registers anew at another port is left out: this computer listens at one."
NOBODY = "Run it again, and open the address that it prints in a browser on this computer."


class Loopback:
    """Listens from ``async with`` on; of each request, it gives the first answer that a browser brings."""

    def __init__(self) -> None:
        self.expect()
        self._port = 0

    async def __aenter__(self) -> "Loopback":
        app = web.Application()
        app.router.add_get("/{path:.*}", self._come_back)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._runner.cleanup()

    def uri(self, own: str | None) -> str:
        """Like the client's ``own`` but for the port, which may be any (RFC 8252 §7.3)."""
        if own is None:
            return f"http://127.0.0.1:{self._port}/callback"
        parts = urlsplit(own)
        return f"http://{parts.hostname}:{self._port}{parts.path}"

    def expect(self) -> None:
        """What came for an earlier request is forgotten."""
        self._answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def wait(self) -> str:
        """The address that the browser came back to. Raises StepFailed."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await asyncio.shield(self._answer)
        except TimeoutError:
            raise StepFailed(f"nobody came back within {PATIENCE // 60} minutes", NOBODY) from None

    async def _come_back(self, request: web.Request) -> web.Response:
        if "code" not in request.query and "error" not in request.query:
            raise web.HTTPNotFound
        if not self._answer.done():
            self._answer.set_result(f"http://{request.host}{request.raw_path}")
        return web.Response(text=PAGE, content_type="text/html", headers=HEADERS)


def is_loopback(uri: str) -> bool:
    parts = urlsplit(uri)
    return parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1")


def at_home(client: Client, run: Run, loopback: Loopback, *, again: bool) -> tuple[Run, tuple[str, ...]]:
    """A way of the client with its codes coming here; and what is not as usual then, in words.

    ``again``: the person may be asked more than once.
    """
    own = next((uri for uri in (run.redirect_uri, *run.redirect_uris) if is_loopback(uri)), None)
    left_out: tuple[str, ...] = ()
    if any(step.do == "register" for step in run.then):
        left_out = (MOVED,)
    elif not again and any(step.do in AGAIN for step in run.then):
        left_out = (ONCE.format(shlex.quote(run.name)),)
    changes = {"redirect_uri": loopback.uri(own), "then": () if left_out else run.then}
    if own is not None:
        return run.model_copy(update=changes), left_out
    registers = f", and it registers, because its document {run.client_id} does not name this computer"
    note = (
        f"Its code comes to this computer instead of {run.redirect_uri}{registers if run.client_id else ''}. "
        f"The page where you allow it may say that this is not {client.title} itself, and is right."
    )
    return run.model_copy(update={**changes, "redirect_uris": (), "client_id": ""}), (note, *left_out)
