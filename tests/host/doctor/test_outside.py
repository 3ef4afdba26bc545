"""The public address as the internet sees it: a real server, behind a front that speaks TLS for its name."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from mcpauth.ambient import Ambient
from mcpauth.app import Services
from mcpauth.fetch.public_address import is_loopback
from mcpauth.host.doctor.outside import Outside
from mcpauth.host.doctor.public_names import PublicNames
from mcpauth.models.findings import Finding
from tests.conftest import ORIGIN
from tests.fakes.authority import Authority
from tests.fakes.name_server import FakeNameServer
from tests.host.doctor.conftest import Read, of, verdicts
from tests.replay.front import Front, Passing

HOST = ORIGIN.removeprefix("https://")
STEPS = [
    "public name",
    "certificate",
    "look",
    "challenge",
    "resource metadata",
    "resource metadata",
    "server metadata",
    "look",
    "this server",
]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def front(io_loop: IOLoop, authority: Authority, http_server: object, base_url: str) -> Iterator[Front]:
    """What is at the public address."""

    async def start() -> Front:
        return Front(base_url, authority.server(HOST))

    front = io_loop.run_sync(start)
    yield front
    io_loop.run_sync(front.stop)


@pytest.fixture
def look(
    services: Services, name_server: FakeNameServer, authority: Authority
) -> Callable[[int], Awaitable[list[Finding]]]:
    """At the public name, where 127.0.0.1 stands in for a public address, and ``port`` for 443."""
    name_server.names[HOST] = ["127.0.0.1"]

    async def look(port: int) -> list[Finding]:
        names = PublicNames([name_server.address])
        outside = Outside(names, Ambient(), is_public=is_loopback, port=port, tls=authority.trusted)
        return await outside.look(services.settings, services.operations.run)

    return look


async def test_all_is_well(front: Front, look: Any, caplog: pytest.LogCaptureFixture) -> None:
    """And the server has nothing to say of it."""
    caplog.set_level(logging.INFO)
    found = await look(front.port)
    assert "request_refused" not in caplog.text
    assert verdicts(found) == {"fine"}
    assert [one.check for one in found] == STEPS
    certificate = of("certificate", found).found
    assert certificate == f"for {HOST}, by Let's Pretend, good for 60 days"
    assert of("public name", found).found == f"{HOST} leads to 127.0.0.1"


def gone(passing: Passing) -> None:
    passing.status, passing.headers["Content-Type"], passing.body = 502, "text/html", b"bad gateway"


def without_challenge(passing: Passing) -> None:
    passing.headers.pop("WWW-Authenticate", None)


def another_issuer(passing: Passing) -> None:
    if "oauth-authorization-server" in passing.path and passing.body:
        passing.body = passing.body.replace(b'"issuer":"https://host', b'"issuer":"http://internal')


def a_page(passing: Passing) -> None:
    if passing.path.endswith("openid-configuration"):
        passing.headers["Content-Type"] = "text/html"


def no_head(passing: Passing) -> None:
    if passing.method == "HEAD":
        passing.status = 405


def redirected(passing: Passing) -> None:
    if passing.path == "/mcp":
        passing.status, passing.headers["Location"] = 307, f"{ORIGIN}/mcp/"


def another_server(passing: Passing) -> None:
    if "/presence/" in passing.path:
        passing.status = 404


@pytest.mark.parametrize(
    ("change", "check", "found", "fix"),
    [
        (gone, "look", "answers 502", "Start the server"),
        (no_head, "look", "answers 405", "mount it at /"),
        (without_challenge, "challenge", "WWW-Authenticate", "WWW-Authenticate"),
        (redirected, "challenge", "answers 307", "do not follow redirects"),
        (another_issuer, "server metadata", "issuer is byte-equal: it does not hold", "MCP_OAUTH_PUBLIC_URL"),
        (a_page, "look", "text/html, not application/json", "Something in front"),
        (another_server, "this server", "not the one", "tailscale serve status"),
    ],
)
async def test_what_clients_would_stop_at(
    front: Front, look: Any, change: Callable[[Passing], None], check: str, found: str, fix: str
) -> None:
    front.after = change
    (problem,) = [one for one in await look(front.port) if one.verdict != "fine"]
    assert (problem.check, problem.verdict) == (check, "problem")
    assert found in problem.found
    assert fix in problem.fix


async def test_a_name_that_the_proxy_changes(front: Front, look: Any) -> None:
    def rename(passing: Passing) -> None:
        passing.sent["Host"] = "internal.example"

    front.before = rename
    last = (await look(front.port))[-1]
    assert "answers 421" in last.found
    assert "MCP_OAUTH_PUBLIC_URL" in last.fix


async def test_without_a_running_server_nothing_is_said_of_it(
    front: Front, services: Services, name_server: FakeNameServer, authority: Authority
) -> None:
    async def nobody(operation: str, arguments: dict[str, Any]) -> Any:
        raise FileNotFoundError

    name_server.names[HOST] = ["127.0.0.1"]
    names = PublicNames([name_server.address])
    outside = Outside(names, Ambient(), is_public=is_loopback, port=front.port, tls=authority.trusted)
    assert [one.check for one in await outside.look(services.settings, nobody)] == STEPS[:-1]


@pytest.mark.parametrize(
    ("days", "verdict", "text"),
    [(6, "warning", "good for 6 days"), (-1, "problem", "it has expired"), (8, "fine", "good for 8 days")],
)
@pytest.mark.usefixtures("http_server")
async def test_how_long_it_is_good(
    base_url: str, authority: Authority, look: Any, days: int, verdict: str, text: str
) -> None:
    front = Front(base_url, authority.server(HOST, timedelta(days=days, hours=1)))
    found = of("certificate", await look(front.port))
    assert (found.verdict, text in found.found) == (verdict, True)
    assert (f"tailscale cert {HOST}" in found.fix) == (verdict != "fine")
    await front.stop()


async def test_a_certificate_that_clients_refuse(
    base_url: str, http_server: object, authority: Authority, look: Any, tmp_path: Path
) -> None:
    front = Front(base_url, authority.server("other.example"))
    found = (await look(front.port))[-1]
    assert (found.check, found.verdict) == ("certificate", "problem")
    assert f"it is not for {HOST}" in found.found
    await front.stop()
    front = Front(base_url, Authority(tmp_path, "Somebody").server(HOST))
    found = (await look(front.port))[-1]
    assert "nobody whom apps trust" in found.found
    await front.stop()


async def test_no_tls_and_nobody_there(look: Any) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    found = (await look(server.sockets[0].getsockname()[1]))[-1]
    assert (found.check, found.verdict) == ("certificate", "problem")
    assert "no TLS" in found.found
    server.close()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        found = (await look(closed.getsockname()[1]))[-1]
    assert (found.verdict, "nobody answers at 127.0.0.1" in found.found) == ("problem", True)
    assert "systemctl restart tailscaled" in found.fix


def at(name_server: FakeNameServer) -> Outside:
    """With the rules of the real one: nothing here may be connected to."""
    return Outside(PublicNames([name_server.address]), Ambient())


async def never(operation: str, arguments: dict[str, Any]) -> Any:
    raise AssertionError(operation)


@pytest.mark.parametrize(
    ("addresses", "text"),
    [
        (["100.100.1.1"], "100.100.1.1, which nobody reaches from the internet"),
        (["192.168.1.7", "1.2.3.4"], "192.168.1.7, which nobody"),
        (["127.0.0.1"], "127.0.0.1, which nobody"),
        (["2606:4700::1"], "IPv6 addresses only (AAAA)"),
        (["fd7a:115c:a1e0::1"], "fd7a:115c:a1e0::1, which nobody"),
    ],
)
async def test_addresses_that_clients_cannot_reach(
    name_server: FakeNameServer, settings: Read, addresses: list[str], text: str
) -> None:
    name_server.names["mcp.example.com"] = addresses
    (found,) = await at(name_server).look(settings(PUBLIC_URL="https://mcp.example.com"), never)
    assert (found.check, found.verdict) == ("public name", "problem")
    assert text in found.found
    assert "tailscale funnel --bg 3210" in found.fix


async def test_a_name_that_nobody_knows(name_server: FakeNameServer, settings: Read) -> None:
    (found,) = await at(name_server).look(settings(PUBLIC_URL="https://mcp.example.com"), never)
    assert (found.verdict, found.fix) == ("problem", "make an A record for mcp.example.com")
    # With `tailscale serve` this is how it should be.
    (found,) = await at(name_server).look(settings(PUBLIC_URL=ORIGIN), never)
    assert (found.verdict, "your own devices can" in found.found) == ("warning", True)
    assert "ChatGPT" in found.found
    assert found.fix.startswith("tailscale funnel --bg 3210")


async def test_without_the_internet_it_is_a_warning(name_server: FakeNameServer, settings: Read) -> None:
    name_server.refuses = True
    (found,) = await at(name_server).look(settings(PUBLIC_URL=ORIGIN), never)
    assert found.verdict == "warning"
    assert "could not be looked at from outside" in found.found


async def test_an_address_in_place_of_a_name(name_server: FakeNameServer, settings: Read) -> None:
    (found,) = await at(name_server).look(settings(PUBLIC_URL="https://192.168.1.7"), never)
    assert (found.verdict, "192.168.1.7, which nobody" in found.found) == ("problem", True)
    assert name_server.asked == []


async def test_a_router_that_leads_nobody_back_is_thought_of(
    name_server: FakeNameServer, settings: Read, authority: Authority
) -> None:
    name_server.names["mcp.example.com"] = ["127.0.0.1"]
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        names = PublicNames([name_server.address])
        outside = Outside(names, Ambient(), is_public=is_loopback, port=port, tls=authority.trusted)
        found = await outside.look(settings(PUBLIC_URL="https://mcp.example.com"), never)
    assert [one.verdict for one in found] == ["fine", "warning"]
    assert "phone without Wi-Fi" in found[-1].fix
