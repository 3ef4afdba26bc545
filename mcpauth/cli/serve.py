"""`python server.py`: serve until told to stop."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock, Timeout
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets, bind_unix_socket

from .. import __version__, log
from ..ambient import Ambient
from ..app import Services, build_services, prepare_data_dir
from ..control import NAME, ControlServer
from ..errors import DataDirectoryBusy, SettingsError
from ..oauth.ways_in import NAMES
from ..routes import make_app, make_server
from ..settings import LOOPBACK_HOSTS, Settings

logger = logging.getLogger(__name__)

# Stopping takes less than five seconds: this is for requests that are being answered, this for all, children included.
FOR_REQUESTS, FOR_ALL = 4.0, 4.4
MOST_DESCRIPTORS = 8192
# A command that works on the files of a stopped server is done by then.
FOR_A_COMMAND = 2.0


def lock(data_dir: Path) -> FileLock:
    """Held for as long as the data directory is in use. Raises DataDirectoryBusy."""
    held = FileLock(data_dir / "lock", timeout=FOR_A_COMMAND, mode=0o600)
    try:
        held.acquire()
    except Timeout:
        raise DataDirectoryBusy(
            f"another process is using the data directory {data_dir}: stop it, or set MCP_OAUTH_DATA_DIR"
        ) from None
    return held


def listen(server: HTTPServer, settings: Settings) -> None:
    """Raises SettingsError for an address that cannot be listened on."""
    try:
        if settings.unix_socket is not None:
            server.add_socket(bind_unix_socket(str(settings.unix_socket), mode=0o600))
        else:
            server.add_sockets(bind_sockets(settings.port, settings.host))
    except OSError as error:
        if settings.unix_socket is not None:
            raise SettingsError(f"MCP_OAUTH_UNIX_SOCKET: cannot listen there ({error.strerror})") from None
        raise SettingsError(
            f"cannot listen on {settings.host} port {settings.port} ({os.strerror(error.errno or 0)}): "
            "set MCP_OAUTH_PORT or MCP_OAUTH_HOST"
        ) from None


def descriptors() -> int:
    """How many files and connections this process may have open: as many as the system lets it."""
    try:
        import resource
    except ImportError:  # Windows
        return 512
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


async def serve(settings: Settings, environ: Mapping[str, str]) -> int:
    data_dir = prepare_data_dir(settings.data_dir)
    held = lock(data_dir)
    try:
        services = await build_services(settings, Ambient(), environ)
        try:
            await _run(services, data_dir)
        finally:
            await services.close()
    finally:
        held.release()
    logger.info("stopped")
    return 0


async def _run(services: Services, data_dir: Path) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stopping.set)
    app = make_app(services)
    # The other half is for children, files and the database.
    server = make_server(app, most=descriptors() // 2)
    listen(server, services.settings)
    await services.start()
    control = ControlServer(data_dir / NAME, services.operations.run)
    await control.start()
    house = asyncio.create_task(services.keep_house())
    watch = asyncio.create_task(server.watch())
    trace = asyncio.create_task(services.trace.write())
    settle()
    greet(services)
    tools = asyncio.create_task(tell_tools(services))
    checking = asyncio.create_task(self_check(services))
    await stopping.wait()
    deadline = loop.time() + FOR_ALL
    server.stop()
    services.gateway.hang_up()
    services.sse_connections.hang_up()
    for task in (house, watch, trace, tools, checking):
        task.cancel()
    await services.configuration_file.close()
    await control.close()
    about = log.fields(requests=len(app.running), processes=services.gateway.processes, patience=FOR_REQUESTS)
    logger.info("stop_began", extra=about)
    await app.finish_running(FOR_REQUESTS)
    await services.gateway.close(deadline - loop.time())
    # What waited for a child has just been answered.
    await app.finish_running(0.2)
    await server.close_all_connections()


def settle() -> None:
    """What there is now stays: the collector need not look through it again and again, nor as often as it would."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def greet(services: Services) -> None:
    settings = services.settings
    where = settings.origin
    if settings.unix_socket is not None:
        where += f"  (through whatever serves {settings.unix_socket} there)"
    elif settings.loopback and settings.host in LOOPBACK_HOSTS | {"::1"}:
        where += "  (only this computer reaches it)"
    elif settings.loopback:
        where += "  (a name for this computer only: set MCP_OAUTH_PUBLIC_URL)"
    names = ", ".join(NAMES[one] for one in services.ways_in.usable()) or "none"
    if not settings.enabled:
        names = "off: everybody who reaches the socket may do everything, but nobody through Tailscale Funnel"
    backends = [state.name for state in services.gateway.backends()]
    lines = [
        f"mcpauth {__version__}",
        f"  MCP URL     {settings.origin}/mcp",
        *([f"  older URL   {settings.origin}/sse  (HTTP+SSE, MCP 2024-11-05)"] if settings.legacy_sse else []),
        f"  public URL  {where}",
        f"  sign-in     {names}",
        f"  servers     {len(backends)}" + (f": {', '.join(backends)}" if backends else ""),
    ]
    if services.setup.needed and settings.enabled:
        lines += [
            "",
            "There is no owner yet. Whoever opens this link first becomes the owner; it is valid for one hour:",
            f"  {settings.origin}/setup?code={services.setup.code}",
            "",
        ]
    print("\n".join(lines), flush=True)


async def tell_tools(services: Services) -> None:
    """The line on tools, when the backends have said what they have."""
    states = await services.gateway.settled()
    parts = [f"{one.name} {len(one.tools)}" if one.state == "ok" else f"{one.name} ({one.state})" for one in states]
    if parts:
        print(f"  tools       {', '.join(parts)}", flush=True)


async def self_check(services: Services) -> None:
    """One line for each thing that stands in the way of clients, with what to do about it."""
    for one in await services.operations.problems():
        logger.warning("self_check", extra=log.fields(check=one.check, found=one.found, fix=one.fix))


def start(settings: Settings, environ: Mapping[str, str]) -> int:
    form = settings.log_format or ("console" if sys.stderr.isatty() else "json")
    log.configure(form, settings.log_level)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(serve(settings, environ))


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where there is one: `make bench` shows about a tenth more requests a second with it."""
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop

    return uvloop.new_event_loop()
