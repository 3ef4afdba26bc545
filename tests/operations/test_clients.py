"""What the owner decides about clients and connections takes effect at once, and lasts."""

import pytest

from mcpauth.errors import OperationError
from mcpauth.oauth.refresh_token import GRACE
from tests.conftest import ORIGIN, PASSWORD
from tests.oauth_client import OAuthClient

DAY = 86400


@pytest.fixture
def run(services):
    async def run(name, /, **arguments):
        return await services.operations.run(name, arguments)

    return run


@pytest.fixture
def connected(io_loop, client, browser, owner):
    """ada's client, connected."""
    io_loop.run_sync(lambda: client.connect(browser, "ada", PASSWORD))
    return client


async def session_of(run, client) -> str:
    rows = await run("session list")
    return next(row["session_id"] for row in rows if row["client_id"] == client.client_id)


async def works(client) -> bool:
    reply = await client.initialize()
    assert reply.status == 200
    return "result" in reply.json


@pytest.mark.parametrize("of", ["client", "session"])
async def test_who_is_paused_keeps_everything_and_can_do_nothing(connected, run, of, ambient):
    about = {"client_id": connected.client_id} if of == "client" else {"session_id": await session_of(run, connected)}
    begun = await connected.initialize()
    await run(f"{of} pause", **about)
    # Neither 401 nor 403: after those it would forget what it holds, or register again.
    message = {"jsonrpc": "2.0", "id": 7, "method": "tools/list", "params": {}}
    reply = await connected.mcp(message, **{"Mcp-Session-Id": begun.headers["Mcp-Session-Id"]})
    assert (reply.status, reply.json["id"]) == (200, 7)
    assert "has paused this client" in reply.json["error"]["message"]
    refused = await connected.refresh()
    assert (refused.status, refused.error) == (503, "temporarily_unavailable")
    assert refused.headers["Retry-After"]
    # The refresh token was not used up by that.
    ambient.time += GRACE + 1
    assert (await connected.refresh()).status == 503
    await run(f"{of} resume", **about)
    # Its MCP session goes on: clients are bad at beginning another.
    reply = await connected.mcp(message, **{"Mcp-Session-Id": begun.headers["Mcp-Session-Id"]})
    assert reply.json["result"]["tools"]
    assert (await connected.refresh()).status == 200
    assert await works(connected)


@pytest.mark.parametrize("of", ["client", "session"])
async def test_the_time_of_a_pause_does_not_count(connected, run, of, ambient, services):
    """Thirty days without a refresh would be its end, and so would be what is swept away after them."""
    about = {"client_id": connected.client_id} if of == "client" else {"session_id": await session_of(run, connected)}
    ambient.time += DAY - 1
    await run(f"{of} pause", **about)
    if of == "session":  # Its session will be gone; what it has is known by the grant.
        [grant] = await services.grants.list_paused()
        about = {"session_id": grant.grant_id}
    for _ in range(2):
        ambient.time += 45 * DAY
        await run(f"{of} pause", **about)
        await services.sessions.close_idle(ambient.now())
        await services.sweep.run(ambient.now())
    await run(f"{of} resume", **about)
    ambient.time += 29 * DAY
    assert (await connected.refresh()).status == 200
    assert await works(connected)


async def test_what_had_expired_before_a_pause_does_not_come_back(connected, run, ambient):
    ambient.time += 30 * DAY
    await run("client pause", client_id=connected.client_id)
    ambient.time += DAY
    await run("client resume", client_id=connected.client_id)
    assert (await connected.refresh()).error == "invalid_grant"


async def test_a_paused_client_learns_nothing_either(connected, run):
    begun = await connected.initialize()
    await run("client pause", client_id=connected.client_id)
    bearer = {"Authorization": f"Bearer {connected.tokens['access_token']}"}
    for path in ("/auth/oauth/me", "/auth/oauth/userinfo"):
        reply = await connected.fetch(path, **bearer)
        # It forgets nothing on that.
        assert (reply.status, reply.error) == (503, "temporarily_unavailable")
    session = {"Mcp-Session-Id": begun.headers["Mcp-Session-Id"]}
    ended = await connected.fetch("/mcp", "DELETE", **bearer, **session)
    assert (ended.status, "has paused this client" in ended.refusal) == (400, True)
    await run("client resume", client_id=connected.client_id)
    assert (await connected.fetch("/auth/oauth/me", **bearer)).status == 200
    assert (await connected.fetch("/mcp", "DELETE", **bearer, **session)).status == 204


async def test_a_paused_client_gets_no_new_access(connected, run, browser):
    page = await connected.consent_page(browser, "ada", PASSWORD)
    await run("client pause", client_id=connected.client_id)
    assert (await browser.decide(page)).status == 403
    page = await browser.get(connected.authorization_url())
    assert page.status == 403
    assert "This app is paused" in page.text
    assert (await run("client list"))[0]["state"] == "paused"
    await run("client resume", client_id=connected.client_id)
    await connected.connect(browser, "ada", PASSWORD)


async def test_pausing_one_connection_leaves_the_other_and_outlives_its_session(
    connected, run, browser, http_server, base_url, ambient, services
):
    other = OAuthClient(ORIGIN, base_url)
    other.client_id = connected.client_id
    await other.connect(browser, "ada", PASSWORD)
    await run("session pause", session_id=await session_of(run, connected))
    paused = [row for row in await run("session list") if row["state"] == "paused"]
    assert len(paused) == 1
    worked = [await works(one) for one in (connected, other)]
    assert sorted(worked) == [False, True]
    ambient.time += 2 * DAY
    await services.sessions.close_idle(ambient.now())
    [row] = await run("session list")
    assert row["state"] == "paused"
    await run("session resume", session_id=row["session_id"])
    assert (await connected.refresh()).status == 200


async def test_who_was_paused_alone_stays_so_when_the_client_goes_on(connected, run, ambient):
    """Whether all of that was within one second or not, and however often it was said."""
    session, client = {"session_id": await session_of(run, connected)}, {"client_id": connected.client_id}
    for seconds_between in (0, 10):
        await run("session pause", **session)
        for _ in range(2):
            ambient.time += seconds_between
            await run("client pause", **client)
        ambient.time += seconds_between
        await run("client resume", **client)
        assert not await works(connected)
        await run("client resume", **client)
        assert not await works(connected)
        await run("session resume", **session)
        assert await works(connected)


async def test_a_connection_of_a_paused_client_cannot_go_on_alone(connected, run, ambient):
    session, client = {"session_id": await session_of(run, connected)}, {"client_id": connected.client_id}
    await run("client pause", **client)
    ambient.time += 10
    for what in ("resume", "pause"):
        with pytest.raises(OperationError, match=f"client resume {connected.client_id}"):
            await run(f"session {what}", **session)
    assert not await works(connected)
    await run("client pause", **client)
    await run("client resume", **client)
    assert await works(connected)


async def test_a_pause_lasts_over_a_restart(connected, run, services, io_loop):
    await run("client pause", client_id=connected.client_id)
    await services.sessions.load()
    assert not await works(connected)


async def test_a_connection_ends_when_it_was_told_to(connected, run, ambient, services):
    session_id = await session_of(run, connected)
    answer = await run("session expire", session_id=session_id, after="2h")
    assert answer["ends_at"] == "2027-01-15T10:00:00Z"
    ambient.time += 2 * 3600 - 1
    assert (await connected.refresh()).status == 200
    assert await works(connected)
    ambient.time += 1
    assert (await connected.initialize()).status == 401
    assert (await connected.refresh()).error == "invalid_grant"
    await services.grants.end_expired(ambient.now())
    assert [row["of"] for row in await run("session list")] == ["a browser"]


async def test_an_end_that_is_too_far_away_is_refused(connected, run):
    with pytest.raises(OperationError, match="within ten years, or never"):
        await run("client expire", client_id=connected.client_id, after="9999999d")
    await run("client expire", client_id=connected.client_id, after="3650d")
    assert (await run("session list"))[-1]["ends_at"].startswith("2037-")


async def test_an_end_can_be_taken_back(connected, run, ambient):
    await run("client expire", client_id=connected.client_id, after="1h")
    assert (await run("session list"))[-1]["ends_at"] is not None
    answer = await run("client expire", client_id=connected.client_id, after="never")
    assert (answer["connections"], answer["ends_at"]) == (1, None)
    ambient.time += 3600
    assert (await connected.refresh()).status == 200


async def test_a_client_that_does_not_refresh_is_given_tokens_that_last(connected, run, ambient, browser, services):
    assert connected.tokens["expires_in"] == 3600
    await run("client lifetime", client_id=connected.client_id, lifetime="14d")
    await connected.connect(browser, "ada", PASSWORD)
    assert connected.tokens["expires_in"] == 14 * DAY
    ambient.time += 14 * DAY - 1
    # Its session was not used for longer than any other would live.
    await services.sessions.close_idle(ambient.now())
    await services.sessions.load()
    assert await works(connected)
    ambient.time += 1
    assert (await connected.initialize()).status == 401
    assert (await connected.refresh()).json["expires_in"] == 14 * DAY
    await run("client lifetime", client_id=connected.client_id, lifetime="default")
    assert (await connected.refresh()).json["expires_in"] == 3600


async def test_a_token_that_lasts_ends_with_its_session_all_the_same(connected, run, browser):
    await run("client lifetime", client_id=connected.client_id, lifetime="14d")
    await connected.connect(browser, "ada", PASSWORD)
    await run("client end", client_id=connected.client_id)
    assert (await connected.initialize()).status == 401
    assert (await run("client list"))[0]["sessions"] == 0
    await connected.connect(browser, "ada", PASSWORD)


async def test_who_is_known_not_to_refresh_gets_them_by_itself_and_nobody_by_name(client, services, browser, owner):
    known = {
        "client_id": "https://chatgpt.com/oauth/codex/client.json",
        "metadata": {"redirect_uris": ["http://127.0.0.1/callback"]},
    }
    await client.register(client_name="Codex")
    registered = await services.clients.find(client.client_id)
    assert registered is not None
    assert services.access_tokens.lifetime(registered) == 3600
    published = registered.model_copy(update={"client_id": known["client_id"]})
    assert services.access_tokens.lifetime(published) == 7 * DAY


async def test_names_that_the_owner_gives(connected, run, browser):
    await run("client rename", client_id=connected.client_id, name="The laptop's")
    assert (await run("client list"))[0]["name"] == "The laptop's"
    session_id = await session_of(run, connected)
    await run("session rename", session_id=session_id, name="upstairs")
    assert [row["of"] for row in await run("session list") if row["session_id"] == session_id] == [
        "The laptop's (upstairs)"
    ]
    # It does not take somebody else's name away from them.
    await run("client rename", client_id=connected.client_id, name="Claude")
    await connected.register(client_name="Claude", redirect_uris=["https://app.stranger.example/cb"])
    assert "Claude wants to connect" not in (await connected.consent_page(browser, "ada", PASSWORD)).text


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("client pause", {"client_id": "nobody"}, "there is no client nobody"),
        ("client rename", {"client_id": "nobody", "name": "x"}, "there is no client nobody"),
        ("client end", {"client_id": "nobody"}, "there is no client nobody"),
        ("client lifetime", {"client_id": "nobody", "lifetime": "1h"}, "there is no client nobody"),
        ("client lifetime", {"client_id": "nobody", "lifetime": "1000d"}, "90 days at most"),
        ("client lifetime", {"client_id": "nobody", "lifetime": "5"}, "one minute at least"),
        ("client expire", {"client_id": "nobody", "after": "1h"}, "there is no client nobody"),
        ("session expire", {"session_id": "none", "after": "3651d"}, "within ten years"),
        ("session pause", {"session_id": "none"}, "there is no live session none"),
        ("session expire", {"session_id": "none", "after": "soon"}, "soon is no time"),
        ("session rename", {"session_id": "none", "name": "x" * 81}, "there is no live session"),
    ],
)
async def test_what_cannot_be_done_says_why(run, owner, name, arguments, reason):
    with pytest.raises(OperationError, match=reason):
        await run(name, **arguments)


async def test_a_browsers_session_can_only_be_ended(run, browser, owner):
    await browser.sign_in(await browser.get("/auth/oauth/signin"), "ada", PASSWORD)
    [row] = await run("session list")
    with pytest.raises(OperationError, match="a browser's session"):
        await run("session pause", session_id=row["session_id"])


async def test_a_name_of_an_owner_has_a_shape(run, connected):
    for name in ("", " ", "x" * 81, "a\x1b[31m"):
        with pytest.raises(OperationError, match="printable"):
            await run("client rename", client_id=connected.client_id, name=name)
