"""What is said of connection attempts that went wrong, by what really was wrong: after it worked, too."""

import base64
import json

import pytest

from mcpauth.models.records import Step, Story
from mcpauth.oauth.endings import judge
from tests.conftest import ORIGIN, PASSWORD
from tests.oauth.test_ticks import decide
from tests.oauth_client import answer

pytestmark = pytest.mark.usefixtures("owner")


@pytest.fixture
def mode():
    return "open"


@pytest.fixture
def servers(tmp_path):
    (tmp_path / "files").mkdir()
    return {"files": {"builtin": "files", "root": str(tmp_path / "files")}, "dead": {"command": "/bin/false"}}


@pytest.fixture
def environment(tmp_path, mode, servers):
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    (data / "mcp.json").chmod(0o600)
    return {"MCP_OAUTH_PUBLIC_URL": ORIGIN, "MCP_OAUTH_DATA_DIR": str(data), "MCP_OAUTH_REGISTRATION": mode}


@pytest.fixture
def verdict(stories):
    """Of the only story; ``fix``: what has to be said of what helps."""

    async def verdict(fix="", state="stopped"):
        (story,) = await stories()
        assert story["state"] == state
        assert fix in story["fix"]
        return story["verdict"]

    return verdict


@pytest.fixture
def run(services):
    """A command of the owner's about the client."""

    async def run(command, client):
        await services.operations.run(command, {"client_id": client.client_id})

    return run


# After it was connected.


async def test_a_registration_that_is_gone(client, browser, ambient, verdict, run):
    await client.connect(browser, "ada", PASSWORD)
    await client.initialize()
    await run("client remove", client)
    assert (await client.initialize()).status == 401
    assert (await client.refresh()).status == 401
    assert await verdict("add it again") == "the client could not prove who it is"


@pytest.mark.parametrize("way", ["client_secret_post", "client_secret_basic"])
async def test_a_wrong_secret_at_a_refresh(client, browser, ambient, verdict, way):
    await client.register(token_endpoint_auth_method=way)
    await client.connect(browser, "ada", PASSWORD)
    await client.initialize()
    ambient.time += 3600
    assert (await client.initialize()).status == 401
    if way == "client_secret_post":
        await client.refresh(client_secret="wrong")
    else:
        pair = base64.b64encode(f"{client.client_id}:wrong".encode()).decode()
        await client.refresh(client_id=None, client_secret=None, headers={"Authorization": f"Basic {pair}"})
    assert await verdict("client add") == "the client could not prove who it is"
    # Whatever it tries with the old token after that.
    await client.initialize()
    assert await verdict() == "the client could not prove who it is"
    await client.refresh()
    await client.initialize()
    assert await verdict(state="connected") == "connected"


async def test_paused_and_resumed(client, browser, ambient, verdict, run):
    await client.connect(browser, "ada", PASSWORD)
    await client.initialize()
    await run("client pause", client)
    assert (await client.initialize()).status == 200
    assert await verdict("client resume") == "paused: it can go on when it is resumed"
    ambient.time += 3600
    await client.initialize()
    assert (await client.refresh()).status == 503
    assert await verdict("client resume") == "paused: it can go on when it is resumed"
    await run("client resume", client)
    await client.refresh()
    await client.initialize()
    assert await verdict(state="connected") == "connected"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_what_was_refused_while_it_was_paused_is_over_with_the_pause(client, browser, verdict, run, method):
    await client.connect(browser, "ada", PASSWORD)
    begun = await client.initialize()
    await run("client pause", client)
    session = {"Mcp-Session-Id": begun.headers["Mcp-Session-Id"]}
    assert (await client.fetch("/mcp", method, **_bearer(client), **session)).status == 400
    assert await verdict("client resume") == "paused: it can go on when it is resumed"
    await run("client resume", client)
    await client.refresh()
    assert await verdict(state="connected") == "connected"


async def test_paused_before_it_came_for_its_token(client, browser, verdict, run):
    await client.register()
    code = await client.code(browser, "ada", PASSWORD)
    await run("client pause", client)
    assert (await client.redeem(code)).status == 503
    assert await verdict("client resume") == "paused: it can go on when it is resumed"


async def test_a_refresh_token_that_is_not_good_any_more(client, browser, ambient, verdict, run):
    await client.connect(browser, "ada", PASSWORD)
    await client.initialize()
    await run("client end", client)
    await client.initialize()
    assert await verdict() == "its session has ended"
    await client.refresh()
    await client.initialize()
    assert await verdict() == "access ended: the client cannot refresh any more"


async def test_what_follows_a_theft_does_not_hide_it(client, browser, ambient, verdict):
    await client.connect(browser, "ada", PASSWORD)
    old = client.tokens["refresh_token"]
    await client.initialize()
    await client.refresh()
    await client.refresh()
    await client.initialize()
    ambient.time += 61
    await client.refresh(old)
    await client.initialize()
    assert (await client.refresh()).status == 400
    assert await verdict("who may read") == "access ended: an old refresh token came back"


async def test_a_refresh_that_asks_for_something_else(client, browser, verdict):
    await client.connect(browser, "ada", PASSWORD)
    await client.initialize()
    await client.refresh(resource=f"{ORIGIN}/mcp/dead")
    assert await verdict("MCP URL") == "the client asked for a token for another address"
    await client.token(grant_type="refresh_token")
    assert await verdict() == "the refresh was refused"
    # It goes on with the token that it has.
    await client.initialize()
    assert await verdict(state="connected") == "connected"


async def test_a_session_that_the_client_does_not_let_go(client, browser, verdict):
    await client.connect(browser, "ada", PASSWORD)
    begun = await client.initialize()
    message = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
    for _ in range(3):
        assert (await client.mcp(message, **{"Mcp-Session-Id": "unknown"})).status == 404
    assert await verdict("Start the client again") == "its MCP session is over, and it does not begin another"
    await client.mcp(message, **{"Mcp-Session-Id": begun.headers["Mcp-Session-Id"]})
    assert await verdict(state="connected") == "connected"


async def test_requests_that_are_refused_after_a_good_one(client, browser, verdict):
    await client.connect(browser, "ada", PASSWORD)
    begun = await client.initialize()
    message = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
    assert (await client.mcp(message)).status == 400
    assert await verdict() == "connected, and now its MCP requests are refused"
    modern = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/list"}
    assert (await client.mcp(message, **modern)).status == 400
    assert await verdict() == "connected, and now its MCP requests are refused"
    await client.mcp(message, **{"Mcp-Session-Id": begun.headers["Mcp-Session-Id"]})
    assert await verdict(state="connected") == "connected"


@pytest.mark.parametrize("servers", [{}, {"dead": {"command": "/bin/false"}}])
async def test_connected_to_servers_that_have_nothing(client, browser, services, verdict):
    await services.gateway.settled()
    await client.connect(browser, "ada", PASSWORD)
    assert (await client.tools()) == set()
    assert await verdict("status", state="connected") == "connected, but no server here has tools"


@pytest.mark.parametrize(
    ("tools", "connected"),
    [([], "connected, but nothing was allowed to it"), (["files/read_file"], "connected")],
)
async def test_connected_with_no_tool_ticked(client, browser, services, verdict, tools, connected):
    await services.gateway.settled()
    await client.register()
    page = await client.consent_page(browser, "ada", PASSWORD, scope="mcp")
    assert (await client.redeem(answer(await decide(browser, page, ["files"], tools))["code"])).status == 200
    assert len(await client.tools()) == len(tools)
    assert await verdict("tick" if not tools else "", state="connected") == connected


async def test_what_says_nothing_of_the_connection(client, browser, ambient, verdict):
    await client.connect(browser, "ada", PASSWORD)
    # Whether there is a stream, before there can be one.
    assert (await client.fetch("/mcp", **_bearer(client))).status == 405
    assert await verdict(state="going on") == "token issued; the first request to /mcp is to come"
    ambient.time += 61
    assert await verdict("MCP_OAUTH_LEGACY_SSE") == "token issued, but the client only asked for a stream"
    await client.initialize()
    assert (await client.fetch("/mcp", **_bearer(client))).status == 405
    assert await verdict(state="connected") == "connected"
    # A method that nobody has: to a modern client that is a 404.
    version = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "no/such"}
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "0"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    message = {"jsonrpc": "2.0", "id": 1, "method": "no/such", "params": {"_meta": meta}}
    assert (await client.mcp(message, **version)).status == 404
    assert await verdict(state="connected") == "connected"


def _bearer(client):
    return {"Authorization": f"Bearer {client.tokens['access_token']}", "Accept": "text/event-stream"}


async def test_a_client_that_signs_itself_out(client, browser, ambient, verdict):
    await client.connect(browser, "ada", PASSWORD)
    await client.initialize()
    token = client.tokens["refresh_token"]
    await client.fetch("/revoke", "POST", f"client_id={client.client_id}&token=made-up")
    assert await verdict(state="connected") == "connected"
    await client.fetch("/revoke", "POST", f"client_id={client.client_id}&token={token}")
    assert (await client.initialize()).status == 401
    ambient.time += 61
    assert await verdict(state="signed out") == "signed out by the client itself"


async def test_a_client_is_called_what_the_owner_calls_it_now(client, browser, services, stories):
    await client.connect(browser, "ada", PASSWORD)
    await services.operations.run("client rename", {"client_id": client.client_id, "name": "Ada's laptop"})
    (story,) = await stories()
    assert story["client"] == "Ada's laptop"


def test_who_asks_under_another_name_is_not_who_is_connected():
    steps = [("token", 200), ("mcp", 200), ("discovery", 421)]
    taken = tuple(Step(at=0, kind=kind, status=status, what="GET") for kind, status in steps)
    assert judge(Story(story_id="s", began_at=0, last_at=0, sessions=("s",), steps=taken), 0).text == "connected"


def test_too_much_at_once_is_no_end():
    steps = [("token", 200), ("mcp", 200), ("mcp", 503)]
    taken = tuple(Step(at=0, kind=kind, status=status, what="POST") for kind, status in steps)
    assert judge(Story(story_id="s", began_at=0, last_at=0, sessions=("s",), steps=taken), 0).text == "connected"


# With a token, and not connected.


async def test_a_server_that_does_not_start(client, browser, verdict):
    await client.connect(browser, "ada", PASSWORD, resource=f"{ORIGIN}/mcp/dead")
    reply = await client.initialize("/mcp/dead")
    assert reply.status == 200
    assert "error" in reply.json
    assert await verdict("status") == "the server behind this address does not work"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("-32001: there is no server of that name here", "there is no server of that name here"),
        (
            "-32000: the server files was not allowed when this client was connected; connect the client again",
            "connected, but not to this server",
        ),
        ("-32022: this revision of MCP is not served here", "the client speaks another revision of MCP"),
        ("-32603: an error of the server that was asked", "the server behind this address does not work"),
        ("-32600: Content-Type must be application/json", "token issued, but the first MCP request was refused"),
    ],
)
def test_a_first_request_that_was_refused(error, expected):
    taken = [("token", 200, None), ("mcp", 400, error)]
    steps = tuple(Step(at=0, kind=kind, status=status, what="POST", error=error) for kind, status, error in taken)
    verdict = judge(Story(story_id="s", began_at=0, last_at=0, sessions=("s",), steps=steps), 0)
    assert (verdict.state, verdict.text) == ("stopped", expected)


async def test_a_token_for_another_address(client, browser, verdict):
    await client.connect(browser, "ada", PASSWORD, resource=f"{ORIGIN}/mcp/dead")
    assert (await client.initialize()).status == 401
    assert await verdict("MCP URL") == "token issued, but it is for another address"


async def test_a_page_of_another_site(client, browser, verdict):
    await client.connect(browser, "ada", PASSWORD)
    headers = {**_bearer(client), "Origin": "https://page.example"}
    assert (await client.fetch("/mcp", "POST", {"jsonrpc": "2.0", "id": 1, "method": "ping"}, **headers)).status == 403
    assert await verdict("MCP_OAUTH_ALLOWED_ORIGINS") == "the page's Origin is not allowed"


async def test_a_page_of_another_site_changes_nothing_for_who_is_connected(client, browser, stories):
    await client.connect(browser, "ada", PASSWORD)
    await client.initialize()
    asks = {"Origin": "https://page.example", "Access-Control-Request-Method": "POST"}
    assert (await client.fetch("/mcp", "OPTIONS", **asks)).status == 403
    assert (await client.fetch("/mcp", "POST", {}, Authorization="Bearer made-up")).status == 401
    connected, *_ = await stories()
    assert connected["verdict"] == "connected"


async def test_a_token_of_another_server(client, ambient, verdict):
    assert (await client.fetch("/mcp", "POST", {}, Authorization="Bearer other")).status == 401
    ambient.time += 61
    assert await verdict() == "came with a token that is not good here, and went no further"


# The code.


async def test_a_code_that_is_used_twice(client, browser, verdict):
    await client.register()
    code = await client.code(browser, "ada", PASSWORD)
    await client.redeem(code)
    await client.redeem(code)
    assert await verdict() == "the code was used twice, so what it brought was ended"
    await client.initialize()
    assert await verdict() == "the code was used twice, so what it brought was ended"


async def test_a_code_that_comes_too_late(client, browser, ambient, verdict):
    await client.register()
    code = await client.code(browser, "ada", PASSWORD)
    ambient.time += 301
    await client.redeem(code)
    assert await verdict("MCP_OAUTH_CODE_EXPIRY") == "the code came too late"


async def test_a_code_for_another_redirect_uri(client, browser, verdict):
    await client.register()
    code = await client.code(browser, "ada", PASSWORD)
    await client.redeem(code, redirect_uri="http://127.0.0.1:1/other")
    assert await verdict() == "the code was refused: another redirect_uri"
    await client.redeem(code, grant_type="client_credentials")
    assert await verdict() == "the token request was refused"
    await client.redeem(code, resource="https://other.example/mcp")
    assert await verdict() == "the client asked for a token for another address"


# Who may.


@pytest.mark.parametrize("command", ["client pause", "client refuse"])
async def test_what_the_owner_said_no_to(client, browser, verdict, run, command):
    await client.register()
    await run(command, client)
    await browser.get(client.authorization_url())
    verdicts = {
        "client pause": ("client resume", "paused: nobody can connect it"),
        "client refuse": ("client approve", "the owner has refused this client"),
    }
    fix, expected = verdicts[command]
    assert await verdict(fix) == expected


@pytest.mark.parametrize("mode", ["known"])
async def test_a_client_that_is_not_known(client, browser, stories):
    stranger, known = "https://app.stranger.example/cb", "https://claude.ai/api/mcp/auth_callback"
    assert (await client.register(redirect_uris=[stranger])).status == 400
    (story,) = await stories()
    assert story["verdict"] == "registration refused: the client is not one of those that are known"
    assert "client add" in story["fix"]
    await client.register(redirect_uris=[known, stranger])
    await browser.get(client.authorization_url(redirect_uri=stranger))
    *_, story = await stories()
    assert story["verdict"] == "the client is not one of those that are known"
    assert "client approve" in story["fix"]


@pytest.mark.parametrize("mode", ["approve"])
async def test_a_client_that_is_refused_while_it_waits(client, browser, services, ambient, verdict, run):
    await services.operations.run("user add", {"name": "bob", "role": "member", "password": PASSWORD})
    await client.register(redirect_uris=["https://app.stranger.example/cb"])
    page = await client.consent_page(browser, "bob", PASSWORD)
    assert await verdict(state="waiting") == "waiting for the owner's approval of the app"
    await run("client refuse", client)
    await browser.get(page.url)
    ambient.time += 700
    assert await verdict("client approve") == "the owner has refused this client"


async def test_somebody_whom_the_owner_has_not_let_in(client, browser, services, verdict):
    await services.operations.run("user add", {"name": "bob", "role": "member", "password": PASSWORD})
    await services.operations.run("user role", {"name": "bob", "role": "pending"})
    await client.register()
    await client.consent_page(browser, "bob", PASSWORD)
    assert await verdict("user approve", "waiting") == "waiting for the owner's approval of the person"


async def test_too_many_registrations(client, stories):
    while (await client.register()).status == 201:
        pass
    *_, story = await stories()
    assert story["verdict"] == "registration refused: too many from its address"


# The person's part.


async def test_allowed_where_no_browser_can_follow(client, browser, ambient, verdict):
    await client.register(redirect_uris=["cursor://anysphere.cursor-mcp/oauth/callback"])
    page = await client.consent_page(browser, "ada", PASSWORD)
    assert (await browser.decide(page)).status == 200
    assert await verdict(state="going on") == "allowed; the client is to come for its token"
    ambient.time += 61
    assert await verdict() == "allowed, but the client never came for its token"


async def test_allow_pressed_twice(client, browser, verdict):
    await client.register()
    page = await client.consent_page(browser, "ada", PASSWORD)
    await browser.decide(page)
    assert (await browser.decide(page)).status == 409
    assert await verdict(state="going on") == "allowed; the client is to come for its token"


async def test_nothing_ticked_leaves_the_page_open(client, browser, verdict):
    await client.register()
    page = await client.consent_page(browser, "ada", PASSWORD)
    assert (await browser.submit(page, page.form("decision"), {}, ("decision", "perhaps"))).status == 400
    assert await verdict() == "the consent page was refused"


async def test_a_browser_that_lost_our_cookie(client, browser, verdict):
    await client.register()
    page = await client.consent_page(browser, "ada", PASSWORD)
    browser.cookies = {name: value for name, value in browser.cookies.items() if "xsrf" not in name}
    assert (await browser.decide(page)).status == 403
    assert await verdict("cookies") == "the browser did not show that the page was ours"


async def test_a_client_that_goes_while_its_page_is_open(client, browser, verdict, run):
    await client.register()
    page = await client.consent_page(browser, "ada", PASSWORD)
    await run("client remove", client)
    assert (await browser.decide(page)).status == 400
    assert await verdict() == "the consent page was too old"
