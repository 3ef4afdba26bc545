"""Signing in as whom Tailscale says the device belongs to, through its proxy on a Unix socket."""

import asyncio
import io
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop

from mcpauth.app import Services
from mcpauth.cli.serve import listen
from mcpauth.errors import IdentityError
from mcpauth.host import tailscale as local_api
from mcpauth.identity.tailscale import Tailscale
from mcpauth.models.tailscale import Status, Visitor, Whois
from mcpauth.routes import make_app, make_server
from tests.browser import Browser, Page
from tests.conftest import FixedAmbient
from tests.fakes.github import FakeGitHub
from tests.fakes.tailscale_serve import FakeServe
from tests.fakes.tailscaled import HOST, SUFFIX, TAILNET, FakeTailscaled
from tests.identity.conftest import having, query
from tests.oauth_client import OAuthClient

ORIGIN = f"https://{HOST}"
SIGN_IN, BUTTON = "/auth/oauth/signin", "/auth/oauth/signin/tailscale"
ALICE, BOB, ROBOT, STRANGER = "100.101.102.103", "100.101.102.104", "100.101.102.105", "100.99.99.99"
# What the button of Alice's page sends, beside a cookie that fits.
TOKEN = "ab" * 16
FORM = f"_xsrf={TOKEN}&login=alice%40example.com&request="
CONTINUE = "Continue as alice@example.com (Tailscale)"


@pytest.fixture
def tailscaled(tailscaled: FakeTailscaled) -> FakeTailscaled:
    tailscaled.join(ALICE, "alice@example.com", 71, "Alice")
    tailscaled.join(BOB, "bob@example.com", 72, "Bob")
    tailscaled.join_tagged(ROBOT, "tag:ci")
    return tailscaled


@pytest.fixture
def with_github() -> bool:
    return False


@pytest.fixture
def environment(
    tmp_path: Path, tailscaled: FakeTailscaled, github: FakeGitHub, with_github: bool, more: dict[str, str]
) -> dict[str, str]:
    return {
        **(github.environment if with_github else {}),
        "MCP_OAUTH_PUBLIC_URL": ORIGIN,
        "MCP_OAUTH_DATA_DIR": str(tmp_path / "data"),
        "MCP_OAUTH_UNIX_SOCKET": str(tailscaled.directory / "mcpauth.sock"),
        "MCP_OAUTH_TAILSCALE_SOCKET": str(tailscaled.socket),
        "MCP_OAUTH_ALLOWED_USERS": "tailscale:alice@example.com",
        **{f"MCP_OAUTH_{name}": value for name, value in more.items()},
    }


@pytest.fixture
def server(io_loop: IOLoop, services: Services) -> Iterator[HTTPServer]:
    """Listens on the Unix socket, as `python server.py` does."""

    async def start() -> HTTPServer:
        server = make_server(make_app(services), most=100)
        listen(server, services.settings)
        return server

    async def stop() -> None:
        server.stop()
        await server.close_all_connections()

    server = io_loop.run_sync(start)
    yield server
    io_loop.run_sync(stop)


@pytest.fixture
def serve(io_loop: IOLoop, server: HTTPServer, services: Services, tailscaled: FakeTailscaled) -> Iterator[FakeServe]:
    assert services.settings.unix_socket is not None
    serve = FakeServe(tailscaled, services.settings.unix_socket)
    yield serve
    io_loop.run_sync(serve.stop)


@pytest.fixture
def at(io_loop: IOLoop, serve: FakeServe) -> Callable[..., Browser]:
    """A browser on the node with that address; with ``funnel``, somewhere on the internet."""

    def at(peer: str, funnel: bool = False) -> Browser:
        return Browser(ORIGIN, serve.funnel(peer) if funnel else serve.tailnet(peer))

    return at


@pytest.fixture
def cloud(serve: FakeServe) -> Callable[[], OAuthClient]:
    """A client whose requests come through Funnel."""
    return lambda: OAuthClient(ORIGIN, serve.funnel("203.0.113.60"))


async def press(browser: Browser, page: Page, **changes: str) -> Page:
    return await browser.submit(page, page.form("login"), changes)


async def enter(browser: Browser) -> Page:
    return await press(browser, await browser.get(SIGN_IN))


async def roles(services: Services) -> dict[str, str]:
    return {one.user.name: one.user.role for one in await services.users.list_all()}


def is_in(page: Page) -> bool:
    return page.status == 200 and "You are signed in" in page.text


def recognizes(page: Page) -> bool:
    return "Tailscale)" in page.text


async def raw(path: Path, *headers: str, method: str = "GET", target: str = SIGN_IN, body: str = "") -> str:
    """What comes back for exactly these headers, on the Unix socket."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    lines = [f"{method} {target} HTTP/1.1", "Connection: close", f"Content-Length: {len(body)}", *headers, "", body]
    writer.write("\r\n".join(lines).encode())
    answer = await reader.read()
    writer.close()
    return answer.decode()


def headers(*, leave_out: str = "", **changes: str) -> list[str]:
    """As tailscaled sends them for a request of Alice's."""
    given = {
        "Host": "localhost",
        "Accept": "text/html",
        "X-Forwarded-Host": HOST,
        "X-Forwarded-Proto": "https",
        "X-Forwarded-For": ALICE,
        "Tailscale-User-Login": "alice@example.com",
        "Tailscale-User-Name": "Alice",
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    return [f"{name}: {value}" for name, value in given.items() if name != leave_out]


async def test_a_device_of_the_tailnet_is_recognized_and_its_person_signs_in_by_the_button(
    at: Callable[..., Browser], services: Services
) -> None:
    browser = at(ALICE)
    page = await browser.get(SIGN_IN)
    assert CONTINUE in page.text
    assert await roles(services) == {}
    assert "__Host-mcpauth_session" not in browser.cookies
    assert is_in(await press(browser, page))
    assert await roles(services) == {"alice@example.com": "owner"}
    assert is_in(await browser.get(SIGN_IN))


async def test_no_get_signs_anybody_in(at: Callable[..., Browser], services: Services) -> None:
    browser = at(ALICE)
    for path in (SIGN_IN, BUTTON, f"{BUTTON}?login=alice@example.com", f"{SIGN_IN}?provider=tailscale", "/"):
        await browser.get(path)
    await browser.request(BUTTON, "HEAD")
    assert "__Host-mcpauth_session" not in browser.cookies
    assert await roles(services) == {}


async def test_a_cloud_client_is_connected_from_a_browser_on_the_tailnet(
    at: Callable[..., Browser], cloud: Callable[[], OAuthClient], services: Services
) -> None:
    browser, client = at(ALICE), cloud()
    assert (await client.register()).status == 201
    page = await browser.get(client.authorization_url())
    assert CONTINUE in page.text
    page = await press(browser, page)
    assert "Test client wants to connect" in page.text
    sent_back = await browser.decide(page)
    assert sent_back.status == 303
    reply = await client.redeem(query(sent_back.location)["code"])
    assert reply.status == 200, reply.body
    listed = await client.tools()
    assert listed
    me = await client.fetch("/auth/oauth/me", Authorization=f"Bearer {client.tokens['access_token']}")
    assert (me.json["provider"], me.json["name"], me.json["role"]) == ("tailscale", "alice@example.com", "owner")


async def test_the_cookies_are_as_safe_as_behind_any_other_proxy(at: Callable[..., Browser]) -> None:
    browser = at(ALICE)
    await enter(browser)
    assert set(browser.cookies) == {"__Host-mcpauth_session", "__Host-mcpauth_xsrf"}
    assert all("Secure" in line and "HttpOnly" in line for line in browser.set_cookie_lines)


# Whom it does not recognize


async def test_through_funnel_nobody_is_recognized_whatever_the_headers_say(at: Callable[..., Browser]) -> None:
    for peer in (ALICE, "203.0.113.7"):
        browser = at(peer, funnel=True)
        page = await browser.get(SIGN_IN, **{"Tailscale-User-Login": "alice@example.com", "X-Forwarded-For": ALICE})
        assert not recognizes(page)
        assert "device of your own that is in the same tailnet" in page.text


async def test_a_tagged_device_and_one_that_is_not_known_are_nobodys(at: Callable[..., Browser]) -> None:
    for peer in (ROBOT, STRANGER):
        page = await at(peer).get(SIGN_IN, **{"Tailscale-User-Login": "alice@example.com"})
        assert page.status == 200
        assert not recognizes(page)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(headers(Tailscale_Funnel_Request="?1"), id="funnel"),
        pytest.param(headers(Tailscale_Funnel_Request=""), id="funnel-empty"),
        pytest.param(headers(X_Forwarded_For=BOB), id="somebody-elses-address"),
        pytest.param(headers(X_Forwarded_For=STRANGER), id="unknown-address"),
        pytest.param(headers(X_Forwarded_For=ROBOT), id="tagged"),
        pytest.param(headers(X_Forwarded_For="203.0.113.9"), id="public-address"),
        pytest.param(headers(X_Forwarded_For=f"203.0.113.9, {ALICE}"), id="two-addresses"),
        pytest.param(headers(X_Forwarded_For=f"{ALICE}, 127.0.0.1"), id="another-proxy"),
        pytest.param([*headers(), f"X-Forwarded-For: {ALICE}"], id="address-twice"),
        pytest.param(headers(leave_out="X-Forwarded-For"), id="no-address"),
        pytest.param(headers(X_Forwarded_For=f"{ALICE}&addr={BOB}"), id="injected"),
        pytest.param(headers(X_Forwarded_For=f"{ALICE}:443"), id="with-a-port"),
        pytest.param(headers(leave_out="X-Forwarded-Host"), id="no-host"),
        pytest.param([*headers(), "Tailscale-User-Login: bob@example.com"], id="two-logins"),
        pytest.param([*headers(), "Tailscale-User-Login: alice@example.com"], id="login-twice"),
        pytest.param([*headers(), "Tailscale-User-Name: Alice"], id="name-twice"),
        pytest.param([*headers(), f"Forwarded: for={ALICE}"], id="forwarded"),
        pytest.param(headers(Tailscale_User_Login="ALICE@EXAMPLE.COM"), id="another-case"),
        pytest.param(headers(Tailscale_User_Login=""), id="empty"),
        pytest.param(headers(Tailscale_User_Login="=?utf-8?q?=FF?="), id="no-text"),
        pytest.param(headers(Tailscale_User_Login="=?x-none?q?alice?="), id="no-charset"),
        pytest.param(headers(Tailscale_User_Login="=?\u00fc?q?alice?="), id="a-charset-that-is-no-name"),
        pytest.param(headers(Tailscale_User_Login="=?utf-8?b?A?="), id="half-a-letter"),
        pytest.param(headers(Tailscale_User_Login="a" * 5000), id="long"),
    ],
)
async def test_headers_that_tailscaled_does_not_send_prove_nothing(
    server: HTTPServer, services: Services, sent: list[str]
) -> None:
    socket = services.settings.unix_socket
    assert socket is not None
    assert CONTINUE in re.sub("<[^>]*>", "", await raw(socket, *headers()))
    answer = await raw(socket, *sent)
    assert answer.startswith("HTTP/1.1 200")
    assert "(Tailscale)" not in answer
    post = [*sent, f"Cookie: __Host-mcpauth_xsrf={TOKEN}", "Content-Type: application/x-www-form-urlencoded"]
    refused = await raw(socket, *post, method="POST", target=BUTTON, body=FORM)
    assert refused.startswith("HTTP/1.1 403")
    assert "mcpauth_session" not in refused
    assert await roles(services) == {}


async def test_a_tcp_port_believes_no_such_header(
    http_server: object, base_url: str, serve: FakeServe, services: Services, written_log: io.StringIO
) -> None:
    """Nor are they looked at. Not even where the socket is served too: everybody on this computer reaches a port."""
    browser = Browser(ORIGIN, base_url)
    forged = dict(line.split(": ", 1) for line in headers())
    forged = {**forged, "Host": HOST}
    page = await browser.get(SIGN_IN, **forged)
    assert page.status == 200
    assert not recognizes(page)
    browser.cookies["__Host-mcpauth_xsrf"] = TOKEN
    refused = await browser.request(BUTTON, "POST", FORM, **forged)
    assert refused.status == 403
    assert "tailscale_identity_not_proven" not in written_log.getvalue()
    assert await roles(services) == {}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"Node": {"Name": "phone.other5678.ts.net."}}, id="another-tailnet"),
        pytest.param({"Node": {"Name": f"phone.other{SUFFIX}."}}, id="a-name-that-ends-alike"),
        pytest.param({"Node": {"Name": f"x.{SUFFIX}.", "Hostinfo": {"ShareeNode": True}}}, id="shared-with"),
        pytest.param({"Node": {"Name": f"x.{SUFFIX}.", "Tags": ["tag:ci"]}}, id="tagged-meanwhile"),
        pytest.param({"UserProfile": {"ID": 71, "LoginName": "carol@example.com"}}, id="another-person"),
        pytest.param({"UserProfile": {"ID": 0, "LoginName": "alice@example.com"}}, id="no-number"),
        pytest.param({"UserProfile": None}, id="no-person"),
        pytest.param({"Node": None}, id="no-device"),
    ],
)
async def test_what_whois_says_has_to_fit(
    at: Callable[..., Browser], serve: FakeServe, tailscaled: FakeTailscaled, change: dict[str, Any], services: Services
) -> None:
    browser = at(ALICE)
    page = await browser.get(SIGN_IN)
    said = serve.identity(ALICE)
    tailscaled.nodes[ALICE] = {**tailscaled.nodes[ALICE], **change}
    serve.identity = lambda peer: said  # type: ignore[method-assign]
    assert not recognizes(await browser.get(SIGN_IN))
    refused = await press(browser, page)
    assert refused.status == 403
    assert "mcpauth_session" not in str(browser.cookies)
    assert await roles(services) == {}


async def test_a_tailscaled_that_is_away_forbids_or_hangs_recognizes_nobody(
    at: Callable[..., Browser], tailscaled: FakeTailscaled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_api, "TIMEOUT", 0.2)
    browser = at(ALICE)
    assert recognizes(await browser.get(SIGN_IN))
    tailscaled.forbids = True
    assert not recognizes(await browser.get(SIGN_IN))
    tailscaled.forbids = False
    tailscaled.answer = b"{" + b" " * 3_000_000 + b"}"
    assert not recognizes(await browser.get(SIGN_IN))
    tailscaled.answer = None
    tailscaled.held = asyncio.Event()
    assert not recognizes(await browser.get(SIGN_IN))
    tailscaled.held.set()
    tailscaled.held = None
    assert recognizes(await browser.get(SIGN_IN))
    tailscaled.socket.unlink()
    assert not recognizes(await browser.get(SIGN_IN))


async def test_a_login_that_is_not_ascii_comes_encoded(at: Callable[..., Browser], tailscaled: FakeTailscaled) -> None:
    tailscaled.join(ALICE, "krūmiņa@example.com", 73, "Krūmiņa")
    browser = at(ALICE)
    page = await browser.get(SIGN_IN)
    assert "Continue as krūmiņa@example.com (Tailscale)" in page.text
    assert "Waiting for approval" in (await press(browser, page)).text


@having(ALLOWED_USERS="tailscale:kim@example.com,tailscale:*@example.com")
async def test_a_login_that_only_looks_like_one_that_is_allowed_is_not(
    at: Callable[..., Browser], tailscaled: FakeTailscaled, services: Services
) -> None:
    """The sign for Kelvin is a k in lower case."""
    tailscaled.join(ALICE, "\u212aim@example.com", 73, "Kim")
    assert "Waiting for approval" in (await enter(at(ALICE))).text
    tailscaled.join(BOB, "Kim@example.com", 74, "Kim")
    assert is_in(await enter(at(BOB)))
    assert sorted((await roles(services)).values()) == ["owner", "pending"]


class AnotherUsers:
    """A LocalAPI that agrees with everything, whose tailscaled runs as somebody else."""

    def __init__(self, status: dict[str, Any]) -> None:
        self._status = status

    async def status(self) -> Status:
        return Status.model_validate(self._status)

    async def whois(self, address: str) -> Whois:
        return Whois.model_validate(
            {
                "Node": {"Name": f"phone.{SUFFIX}."},
                "UserProfile": {"ID": 71, "LoginName": "alice@example.com"},
            }
        )

    def uid(self) -> int:
        return 12345


async def test_what_another_process_sends_over_the_socket_proves_nothing(tailscaled: FakeTailscaled) -> None:
    """Something else that forwards to the socket, with headers that it does not take away."""
    provider = Tailscale(AnotherUsers(tailscaled.status_now()))
    sent = {"funnel": False, "plain": True, "login": "alice@example.com", "address": ALICE}
    assert (await provider.identify(Visitor(uid=12345, **sent))).provider_id == f"71@{TAILNET}"
    for uid in (0, os.geteuid(), None):
        with pytest.raises(IdentityError, match="not sent by the user that tailscaled runs as"):
            await provider.identify(Visitor(uid=uid, **sent))


# The button


async def test_the_button_needs_the_pages_own_token(at: Callable[..., Browser], services: Services) -> None:
    browser = at(ALICE)
    page = await browser.get(SIGN_IN)
    assert (await press(browser, page, _xsrf="ab" * 16)).status == 403
    browser.cookies["__Host-mcpauth_xsrf"] = TOKEN
    for site in ("cross-site", "same-site"):
        assert (await browser.request(BUTTON, "POST", FORM, **{"Sec-Fetch-Site": site})).status == 403
    assert await roles(services) == {}
    assert is_in(await browser.get((await browser.request(BUTTON, "POST", FORM)).location))


async def test_the_button_signs_in_whom_it_names_and_nobody_else(
    at: Callable[..., Browser], tailscaled: FakeTailscaled, services: Services
) -> None:
    browser = at(ALICE)
    page = await browser.get(SIGN_IN)
    tailscaled.join(ALICE, "bob@example.com", 72)
    refused = await press(browser, page)
    assert refused.status == 403
    assert "belongs to somebody else" in refused.text
    assert "Continue as bob@example.com (Tailscale)" in refused.text
    assert await roles(services) == {}


async def test_the_button_leads_to_pages_of_this_server_alone(at: Callable[..., Browser]) -> None:
    for request in ("https://evil.example/", "//evil.example", "x\r\nLocation: https://evil.example"):
        browser = at(ALICE)
        page = await browser.get(SIGN_IN)
        form = page.form("login")
        assert form.action == BUTTON
        sent = await press(browser, page, request=request)
        assert sent.url.startswith(f"{ORIGIN}/auth/oauth/consent?request=")
        assert sent.status == 400


async def test_attempts_are_counted_by_the_address_that_tailscaled_names(at: Callable[..., Browser]) -> None:
    alice, bob = at(ALICE), at(BOB)
    page = await alice.get(SIGN_IN)
    for _ in range(30):
        assert (await press(alice, page, login="somebody")).status == 403
    assert (await press(alice, page)).status == 429
    assert (await enter(bob)).status == 403  # waits for approval


async def test_who_loads_page_after_page_is_not_looked_up_each_time(
    at: Callable[..., Browser], ambient: FixedAmbient
) -> None:
    alice, bob = at(ALICE), at(BOB)
    assert all([recognizes(await alice.get(SIGN_IN)) for _ in range(60)])
    assert not recognizes(await alice.get(SIGN_IN))
    assert recognizes(await bob.get(SIGN_IN))
    ambient.time += 15 * 60
    assert recognizes(await alice.get(SIGN_IN))


async def test_each_device_counts_for_itself(at: Callable[..., Browser], tailscaled: FakeTailscaled) -> None:
    """By its IPv6 address too, although the neighbouring ones are other people's."""
    tailscaled.join("fd7a:115c:a1e0::1", "mallory@example.com", 90)
    tailscaled.join("fd7a:115c:a1e0::2", "alice@example.com", 71)
    mallory, alice = at("fd7a:115c:a1e0::1"), at("fd7a:115c:a1e0::2")
    page = await mallory.get(SIGN_IN)
    for _ in range(31):
        refused = await press(mallory, page, login="somebody")
    assert refused.status == 429
    assert is_in(await enter(alice))


# Who comes in


@having(ALLOWED_USERS="tailscale:alice@example.com,tailscale:*@example.com")
async def test_the_exact_first_entry_is_the_owner_and_who_fits_a_glob_a_member(
    at: Callable[..., Browser], tailscaled: FakeTailscaled, services: Services
) -> None:
    tailscaled.join(STRANGER, "mallory@other.example", 99)
    assert is_in(await enter(at(BOB)))
    assert is_in(await enter(at(ALICE)))
    assert "Waiting for approval" in (await enter(at(STRANGER))).text
    assert await roles(services) == {
        "bob@example.com": "member",
        "alice@example.com": "owner",
        "mallory@other.example": "pending",
    }


@having(AUTO_CREATE_USERS="false")
async def test_a_stranger_is_turned_away_where_that_is_set(at: Callable[..., Browser], services: Services) -> None:
    assert "You cannot sign in here" in (await enter(at(BOB))).text
    assert await roles(services) == {}


async def test_who_takes_over_a_login_is_somebody_else(
    at: Callable[..., Browser], tailscaled: FakeTailscaled, services: Services
) -> None:
    assert is_in(await enter(at(ALICE)))
    tailscaled.join(ALICE, "alice@example.com", 666)
    assert "Waiting for approval" in (await enter(at(ALICE))).text
    assert sorted((await roles(services)).values()) == ["owner", "pending"]


async def test_who_is_renamed_stays_who_they_are(
    at: Callable[..., Browser], tailscaled: FakeTailscaled, services: Services
) -> None:
    assert is_in(await enter(at(ALICE)))
    tailscaled.join(ALICE, "alice@new.example", 71)
    assert is_in(await enter(at(ALICE)))
    assert await roles(services) == {"alice@example.com": "owner"}


async def test_the_same_number_in_another_tailnet_is_somebody_else(
    at: Callable[..., Browser], tailscaled: FakeTailscaled, services: Services
) -> None:
    assert is_in(await enter(at(ALICE)))
    tailscaled.tailnet = "another.example"
    assert "Waiting for approval" in (await enter(at(ALICE))).text
    assert sorted((await roles(services)).values()) == ["owner", "pending"]


@having(ALLOWED_USERS="github:nobody")
async def test_who_has_the_setup_code_becomes_the_owner_with_tailscale(
    at: Callable[..., Browser], services: Services
) -> None:
    browser = at(BOB)
    assert not recognizes(await browser.get("/setup"))
    page = await browser.get(f"/setup?code={services.setup.code}")
    assert "Continue as bob@example.com (Tailscale)" in page.text
    assert "Waiting for approval" in (await enter(at(ALICE))).text
    assert is_in(await press(browser, page))
    assert await roles(services) == {"alice@example.com": "pending", "bob@example.com": "owner"}


# Beside other ways to sign in


async def config(browser: Browser) -> dict[str, Any]:
    found: dict[str, Any] = (await browser.get("/auth/oauth/health")).json["config"]["providers"]
    return found


async def test_it_is_listed_as_a_provider(at: Callable[..., Browser]) -> None:
    browser = at("203.0.113.7", funnel=True)
    listed = (await browser.get("/auth/oauth/providers")).json["providers"]
    assert listed == [{"id": "tailscale", "name": "Tailscale", "enabled": True}]
    told = await config(browser)
    assert (told["available"], told["trusted"]) == (["tailscale"], ["tailscale"])


@having(TRUSTED_PROVIDERS="password")
async def test_where_it_is_not_trusted_it_signs_nobody_in(at: Callable[..., Browser]) -> None:
    browser = at(ALICE)
    page = await browser.get(SIGN_IN)
    assert not recognizes(page)
    browser.cookies["__Host-mcpauth_xsrf"] = TOKEN
    assert (await browser.request(BUTTON, "POST", FORM)).status == 403
    assert (await config(browser))["trusted"] == []


beside_github = pytest.mark.parametrize("with_github", [True], ids=[""])


@beside_github
async def test_whom_tailscale_does_not_name_goes_straight_to_github(
    at: Callable[..., Browser], cloud: Callable[[], OAuthClient], github: FakeGitHub
) -> None:
    client = cloud()
    await client.register()
    for browser in (at("203.0.113.7", funnel=True), at(ROBOT), at(STRANGER)):
        page = await browser.request(client.authorization_url())
        assert page.status == 302
        assert page.location.startswith(f"{github.url}/login/oauth/authorize?")


@beside_github
async def test_whom_it_names_may_choose(
    at: Callable[..., Browser], cloud: Callable[[], OAuthClient], github: FakeGitHub
) -> None:
    client = cloud()
    await client.register()
    browser = at(ALICE)
    page = await browser.get(client.authorization_url())
    assert CONTINUE in page.text
    assert "Continue with GitHub" in page.text
    assert "Test client wants to connect" in (await press(browser, page)).text


class TestNothingElseTrusted:
    @pytest.fixture
    def more(self) -> dict[str, str]:
        return {"TRUSTED_PROVIDERS": "tailscale"}

    async def test_while_tailscale_is_stopped_there_is_no_way_in(
        self, at: Callable[..., Browser], tailscaled: FakeTailscaled, services: Services
    ) -> None:
        browser = at(ALICE)
        assert is_in(await enter(browser))
        assert (await config(browser))["trusted"] == ["tailscale"]
        assert services.tailscale is not None
        services.tailscale.available = False
        page = await at(ALICE).get(SIGN_IN)
        assert "No way to sign in is switched on" in page.text
        assert "no owner" not in page.text
        assert not page.forms


class TestFoundLater:
    @pytest.fixture
    def tailscaled(self, tailscaled: FakeTailscaled) -> FakeTailscaled:
        tailscaled.state = "NeedsLogin"
        return tailscaled

    async def test_it_counts_once_tailscaled_runs(
        self, at: Callable[..., Browser], services: Services, tailscaled: FakeTailscaled, written_log: io.StringIO
    ) -> None:
        browser = at(ALICE)
        assert not recognizes(await browser.get(SIGN_IN))
        assert (await config(browser))["available"] == ["password"]
        assert (await services.operations.status())["tailscale"] == "it is NeedsLogin"
        for _ in range(3):
            await services.look_for_tailscale()
        tailscaled.state = "Running"
        await services.look_for_tailscale()
        assert recognizes(await browser.get(SIGN_IN))
        assert (await services.operations.status())["tailscale"] == f"{TAILNET} ({HOST})"
        assert written_log.getvalue().count("tailscale_not_usable") == 0
        assert written_log.getvalue().count("tailscale_found") == 2  # in both formats


async def test_the_log_says_why_once_in_a_while(
    at: Callable[..., Browser], ambient: FixedAmbient, written_log: io.StringIO
) -> None:
    def said() -> list[str]:
        lines = [line for line in written_log.getvalue().splitlines() if line.startswith("{")]
        return [line for line in lines if "tailscale_identity_not_proven" in line and '"level": "debug"' not in line]

    for number in range(5):
        await at(f"203.0.113.{number}", funnel=True).get(SIGN_IN)
    assert len(said()) == 1
    assert '"level": "info"' in said()[0]
    assert "came through Funnel" in said()[0]
    ambient.time += 3600
    await at("203.0.113.9", funnel=True).get(SIGN_IN)
    assert len(said()) == 2


async def test_the_trace_says_that_the_page_was_opened_outside_the_tailnet(
    at: Callable[..., Browser], cloud: Callable[[], OAuthClient], services: Services
) -> None:
    client = cloud()
    await client.register()

    async def told() -> tuple[str, str]:
        await services.trace.save()
        (story,) = await services.operations.trace_list()
        return story["verdict"], story["state"]

    await at("203.0.113.7", funnel=True).get(client.authorization_url())
    assert await told() == ("the sign-in page was opened outside the tailnet", "stopped")
    await at(ALICE).get(client.authorization_url())
    assert await told() == ("waiting for sign-in", "waiting")


# The rest, behind such a proxy


async def test_the_name_is_judged_by_what_tailscaled_was_asked_for(at: Callable[..., Browser]) -> None:
    browser = at(ALICE)
    assert (await browser.get(SIGN_IN)).status == 200
    assert (await browser.get(SIGN_IN, Host="other.example")).status == 421


async def test_strangers_are_limited_by_the_address_that_tailscaled_names(serve: FakeServe) -> None:
    flood = OAuthClient(ORIGIN, serve.funnel("203.0.113.61"))
    statuses = [(await flood.register()).status for _ in range(21)]
    assert statuses == [201] * 20 + [429]
    made_up = await flood.fetch(
        "/register", "POST", {"redirect_uris": ["http://127.0.0.1/"]}, **{"X-Forwarded-For": "203.0.113.99"}
    )
    assert made_up.status == 429
    assert (await OAuthClient(ORIGIN, serve.funnel("203.0.113.62")).register()).status == 201


async def test_nobody_else_of_this_computer_may_open_the_socket(server: HTTPServer, services: Services) -> None:
    socket = services.settings.unix_socket
    assert socket is not None
    assert socket.stat().st_mode & 0o777 == 0o600


@having(ENABLED="false")
async def test_without_authorization_nothing_comes_in_through_funnel(
    serve: FakeServe, cloud: Callable[[], OAuthClient], services: Services
) -> None:
    somewhere, at_home = cloud(), OAuthClient(ORIGIN, serve.tailnet(ALICE))
    somewhere.tokens = at_home.tokens = {"access_token": "none"}
    refused = await somewhere.initialize()
    assert (refused.status, "Funnel" in refused.refusal) == (403, True)
    assert services.settings.unix_socket is not None
    for value in ("?0", "", "yes"):
        flag = f"Tailscale-Funnel-Request: {value}"
        answer = await raw(services.settings.unix_socket, "Host: localhost", flag, target="/mcp")
        assert answer.startswith("HTTP/1.1 403 ")
    assert (await at_home.initialize()).status == 200
