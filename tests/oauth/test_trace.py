"""Connection attempts as the owner sees them afterwards: one story each, and what it came to."""

import asyncio
import base64
import json
import tracemalloc

import pytest

from mcpauth.models.records import Step, Story
from mcpauth.oauth import stories as oauth_stories
from mcpauth.oauth import trace
from mcpauth.oauth.endings import ENDINGS, judge
from mcpauth.oauth.trace import Trace
from mcpauth.store.stories import StoryStore
from tests.browser import Browser
from tests.conftest import PASSWORD
from tests.oauth_client import OAuthClient, answer

pytestmark = pytest.mark.usefixtures("owner")


def kinds(story):
    return [step["kind"] for step in story["steps"]]


async def look(client):
    """What a client does before it registers."""
    assert (await client.fetch("/mcp", "POST", {})).status == 401
    assert (await client.fetch("/.well-known/oauth-protected-resource/mcp")).status == 200
    assert (await client.fetch("/.well-known/oauth-authorization-server")).status == 200


async def test_a_connection_is_one_story_from_the_first_look_to_the_first_request(client, browser, stories):
    await look(client)
    await client.connect(browser, "ada", PASSWORD)
    await client.initialize()
    await client.initialize()
    await client.refresh()
    (story,) = await stories()
    assert kinds(story) == [
        "challenge",
        "discovery",
        "discovery",
        "registration",
        "authorize",
        "sign-in",
        "sign-in",
        "consent",
        "allowed",
        "token",
        "mcp",
        "refresh",
    ]
    assert story["client"] == "Test client"
    assert (story["state"], story["verdict"]) == ("connected", "connected")
    assert story["addresses"] == [client.address, browser.address]


async def test_nothing_secret_is_in_a_story(client, browser, services, stories):
    await client.register(token_endpoint_auth_method="client_secret_post")
    code = await client.code(browser, "ada", PASSWORD)
    await client.redeem(code)
    await client.initialize()
    secrets = [code, client.verifier, client.challenge, client.client_secret, PASSWORD, client.state]
    secrets += [client.tokens["access_token"], client.tokens["refresh_token"], *browser.cookies.values()]
    await services.trace.save()
    told = json.dumps(await stories()) + json.dumps([one.model_dump() for one in await services.trace.stories()])
    told += str([dict(row) for row in await services.database.fetch_all("select * from stories")])
    for secret in secrets:
        assert secret not in told


async def test_the_same_client_on_two_devices_is_two_stories(client, browser, stories, base_url):
    await client.connect(browser, "ada", PASSWORD)
    other = OAuthClient(client.origin, base_url)
    other.client_id, other.redirect_uri, other.address = client.client_id, client.redirect_uri, "198.51.100.77"
    await look(other)
    await other.connect(browser, "ada", PASSWORD)
    await other.initialize()
    first, second = await stories()
    assert first["verdict"] != "connected"
    assert second["verdict"] == "connected"
    assert kinds(second)[:3] == ["challenge", "discovery", "discovery"]


async def test_two_clients_behind_one_address_are_two_stories(client, browser, stories, base_url):
    await client.connect(browser, "ada", PASSWORD)
    other = OAuthClient(client.origin, base_url)
    await other.connect(browser, "ada", PASSWORD)
    await other.initialize()
    await client.initialize()
    assert [story["verdict"] for story in await stories()] == ["connected", "connected"]


async def test_a_client_that_looks_around_again_at_every_start_has_one_story(
    client, browser, services, ambient, stories
):
    await look(client)
    await client.connect(browser, "ada", PASSWORD)
    await client.initialize()
    for _ in range(30):
        ambient.time += 3600
        await look(client)
        assert (await client.mcp({"id": 1}, Authorization="Bearer expired")).status == 401
        await client.refresh()
        await look(client)
        await client.initialize()
        await services.trace.save()
    (story,) = await stories()
    assert story["verdict"] == "connected"
    assert kinds(story)[3:5] == ["registration", "authorize"]
    looked = ["challenge", "discovery", "discovery", "mcp"]
    assert kinds(story)[-9:] == [*looked, "refresh", *looked]


async def test_a_client_that_fails_beside_one_that_is_connected_has_its_own_story(client, browser, stories, base_url):
    await client.connect(browser, "ada", PASSWORD)
    await client.initialize()
    other = OAuthClient(client.origin, base_url)
    other.address = client.address
    reply = await other.fetch("/.well-known/oauth-authorization-server", User_Agent="another/1")
    assert reply.status == 200
    await client.initialize()
    await client.refresh()
    failed, connected = await stories()
    assert kinds(failed) == ["discovery"]
    assert connected["verdict"] == "connected"


async def test_two_programs_that_look_around_at_the_same_moment_have_a_story_each(client, browser, stories, base_url):
    """Behind one address, step by step in turns, so that only their user agents tell them apart."""
    other = OAuthClient(client.origin, base_url)
    client.user_agent, other.user_agent, other.address = "first/1", "second/2", client.address
    looks = [("/mcp", "POST"), ("/.well-known/oauth-protected-resource/mcp", "GET")]
    for path, method in [*looks, ("/.well-known/oauth-authorization-server", "GET")]:
        for one in (client, other):
            await one.fetch(path, method, {} if method == "POST" else None)
    await other.register(client_name="Second")
    await client.register(client_name="First")
    await client.connect(browser, "ada", PASSWORD)
    await client.initialize()
    second, first = await stories()
    assert (first["client"], first["user_agent"], first["verdict"]) == ("First", "first/1", "connected")
    assert (second["client"], second["user_agent"]) == ("Second", "second/2")
    assert kinds(first)[:4] == kinds(second) == ["challenge", "discovery", "discovery", "registration"]


async def test_programs_that_say_who_they_are_with_the_token_are_told_apart_then(client, browser, base_url, stories):
    """As those that publish a document: the browser asks for the authorization, and says nothing of the program."""
    other = OAuthClient(client.origin, base_url)
    await client.register(client_name="First")
    await other.register(client_name="Second")
    client.address = other.address = browser.address = "198.51.100.77"
    client.user_agent, other.user_agent = "first/1", "second/2"
    for one in (client, other):
        await look(one)
    for one in (other, client):
        await one.connect(browser, "ada", PASSWORD)
    *_, second, first = await stories()
    assert [one["user_agent"] for one in (first, second)] == ["first/1", "second/2"]
    assert [kinds(one).count("challenge") for one in (first, second)] == [1, 1]


@pytest.mark.parametrize(
    ("looks", "asks", "count"),
    [
        ("Claude-User", "python-httpx/0.28.1", 1),  # One client, with two programs.
        ("Claude-User", "openai-mcp/1.0.0", 2),
    ],
)
async def test_a_client_may_be_two_programs(client, stories, looks, asks, count):
    await client.fetch("/mcp", "POST", {}, User_Agent=looks)
    await client.fetch("/.well-known/oauth-protected-resource/mcp", User_Agent=asks)
    await client.fetch("/.well-known/oauth-authorization-server", User_Agent=asks)
    client.user_agent = asks
    await client.register()
    found = await stories()
    assert len(found) == count
    assert kinds(found[-1])[-3:] == ["discovery", "discovery", "registration"]


async def test_one_address_with_many_programs_does_not_fill_the_list(services):
    for number in range(100):
        services.trace.add(**step("discovery", user_agent=f"a/{number}"))
    assert len(await services.trace.stories()) == oauth_stories.MOST_NAMELESS


async def test_a_client_that_registered_long_ago_is_called_by_its_name(client, browser, ambient, stories):
    await client.connect(browser, "ada", PASSWORD)
    ambient.time += 3600
    await browser.get(client.authorization_url(code_challenge="c" * 43))
    first, second = await stories()
    assert first["client"] == second["client"] == "Test client"


async def test_a_page_that_nobody_answers_is_not_waited_for_forever(client, browser, ambient, stories):
    await client.register()
    page = await browser.get(client.authorization_url())
    ambient.time += 601
    (story,) = await stories()
    assert story["verdict"] == "sign-in was begun, and not finished"
    await browser.sign_in(page, "ada", PASSWORD)
    ambient.time += 3600
    (story,) = await stories()
    assert story["verdict"] == "waiting for consent"
    ambient.time += 1
    (story,) = await stories()
    assert (story["state"], story["verdict"]) == ("stopped", "the consent page was not answered")


async def test_where_it_stopped_and_what_to_do(client, browser, ambient, stories):
    async def now():
        *_, story = await stories()
        assert (story["state"] == "stopped") == bool(story["cause"] and story["state"] != "waiting")
        return story["verdict"]

    await look(client)
    assert await now() == "going on"
    ambient.time += 61
    assert await now() == "read our documents, and went no further"
    await client.register()
    assert await now() == "going on"
    ambient.time += 61
    assert await now() == "registered, but nobody was sent to sign in"
    page = await browser.get(client.authorization_url())
    assert await now() == "waiting for sign-in"
    page = await browser.sign_in(page, "ada", "wrong password of some length")
    assert await now() == "sign-in failed"
    page = await browser.sign_in(page, "ada", PASSWORD)
    assert await now() == "waiting for consent"
    code = answer(await browser.decide(page))["code"]
    assert await now() == "allowed; the client is to come for its token"
    ambient.time += 61
    assert await now() == "allowed, but the client never came for its token"
    await client.redeem(code, code_verifier="w" * 43, client_id=client.client_id)
    assert await now() == "the code was refused: the PKCE verifier does not fit"
    await client.redeem(code)
    ambient.time += 61
    assert await now() == "token issued, but no request to /mcp came"
    await client.fetch("/mcp", "POST", {})
    assert await now() == "token issued, but the requests to /mcp came without it"
    await client.mcp({"jsonrpc": "2.0", "id": 1})
    assert await now() == "token issued, but the first MCP request was refused"
    await client.initialize()
    assert await now() == "connected"
    ambient.time += 7200
    await client.initialize()
    assert await now() == "access expired, and the client did not refresh"
    expired = client.tokens
    await client.refresh()
    await client.initialize()
    assert await now() == "connected"
    # One that was on its way with the old token.
    await client.fetch("/mcp", "POST", {}, Authorization=f"Bearer {expired['access_token']}")
    assert await now() == "connected"
    ambient.time += 7200
    client.address = "198.51.100.99"
    await client.initialize()
    assert await now() == "access expired, and the client did not refresh"
    assert len(await stories()) == 1


async def test_a_look_around_while_a_page_is_open_changes_nothing(client, browser, stories):
    await client.register()
    await client.consent_page(browser, "ada", PASSWORD)
    await look(client)
    (story,) = await stories()
    assert story["verdict"] == "waiting for consent"


async def test_denied(client, browser, stories):
    await client.register()
    await browser.decide(await client.consent_page(browser, "ada", PASSWORD), "deny")
    (story,) = await stories()
    assert story["verdict"] == "denied: the person said no"


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"client_id": "mcp_client_1_gone"}, "the client is not known here"),
        ({"client_id": "https://127.0.0.1/client.json"}, "the client's document could not be used"),
        ({"redirect_uri": "https://other.example/cb"}, "the redirect_uri is not one that the client registered"),
        ({"code_challenge": None, "code_challenge_method": None}, "the client does not use PKCE"),
        ({"resource": "https://other.example/mcp"}, "the client asked for an address that is not served here"),
        ({"response_type": "token"}, "the authorization request was refused"),
    ],
)
async def test_an_authorization_request_that_was_refused(client, browser, stories, changes, verdict):
    await client.register()
    await browser.get(client.authorization_url(**changes))
    *_, story = await stories()
    assert (story["state"], story["verdict"]) == ("stopped", verdict)
    assert story["fix"]


async def test_a_request_that_is_mended_after_it_was_refused_goes_on_with_its_story(client, browser, stories):
    await client.register()
    await browser.get(client.authorization_url(response_type="token", code_challenge="c" * 43))
    await browser.get(client.authorization_url(code_challenge=None))
    await client.connect(browser, "ada", PASSWORD)
    await client.initialize()
    (story,) = await stories()
    assert (story["verdict"], kinds(story)[:4]) == ("connected", ["registration", *["authorize"] * 3])


async def test_a_refused_request_of_a_stranger_draws_nobody_into_his_story(client, browser, base_url, stories):
    await client.register()
    stranger = Browser(client.origin, base_url)
    stranger.address = "198.51.100.66"
    await stranger.get(client.authorization_url(response_type="token", code_challenge="c" * 43))
    client.address = "198.51.100.77"
    await client.connect(browser, "ada", PASSWORD)
    refused, connected = await stories()
    assert "198.51.100.66" in refused["addresses"]
    assert connected["addresses"] == [browser.address, client.address]


@pytest.mark.parametrize(
    ("metadata", "verdict"),
    [
        ({"redirect_uris": ["javascript:alert(1)"]}, "registration refused: its redirect URIs"),
        ({"redirect_uris": ["https://a.example/cb"], "client_name": 7}, "registration refused"),
    ],
)
async def test_a_registration_that_was_refused(client, stories, metadata, verdict):
    assert (await client.register(**metadata)).status == 400
    (story,) = await stories()
    assert story["verdict"] == verdict


async def test_a_path_that_a_proxy_cut(client, stories):
    await client.fetch("/.well-known/oauth-authorization-server")
    await client.fetch("/no/such/token", "POST", "grant_type=authorization_code")
    (story,) = await stories()
    assert story["verdict"] == "the client asked at addresses that do not exist here"


@pytest.mark.parametrize("path", ["/mcp", "/.well-known/oauth-protected-resource/mcp"])
async def test_another_name_of_this_computer(client, ambient, stories, path):
    assert (await client.fetch(path, Host="other.example")).status == 421
    ambient.time += 61
    (story,) = await stories()
    assert story["verdict"] == "asked under a name that is not this server's"


async def test_a_client_that_was_set_to_use_no_sign_in(client, ambient, stories):
    assert (await client.fetch("/mcp", "POST", {})).status == 401
    ambient.time += 61
    (story,) = await stories()
    assert story["verdict"] == "asked for /mcp without a token, and went no further"
    assert "OAuth" in story["fix"]


async def test_a_scanner_leaves_no_story(client, stories):
    for path in ("/wp-login.php", "/.env", "/cgi-bin/x"):
        await client.fetch(path)
    assert await stories() == []


async def test_a_wrong_secret(client, browser, stories):
    await client.register(token_endpoint_auth_method="client_secret_basic")
    code = await client.code(browser, "ada", PASSWORD)
    pair = base64.b64encode(f"{client.client_id}:wrong".encode()).decode()
    await client.redeem(code, client_id=None, client_secret=None, headers={"Authorization": f"Basic {pair}"})
    (story,) = await stories()
    assert story["verdict"] == "the client could not prove who it is"


async def test_a_stolen_refresh_token(client, browser, ambient, stories):
    await client.connect(browser, "ada", PASSWORD)
    old = client.tokens["refresh_token"]
    await client.initialize()
    await client.refresh()
    await client.refresh()
    ambient.time += 61
    assert (await client.refresh(old)).status == 400
    (story,) = await stories()
    assert story["verdict"] == "access ended: an old refresh token came back"


async def test_a_stranger_cannot_write_into_the_story_of_a_client(client, browser, base_url, stories):
    await client.connect(browser, "ada", PASSWORD)
    await client.initialize()
    stranger = OAuthClient(client.origin, base_url)
    stranger.client_id, stranger.address = client.client_id, "198.51.100.77"
    assert (await stranger.refresh("made up")).status == 400
    first, second = await stories()
    assert first["verdict"] == "connected"
    assert second["addresses"] == [stranger.address]


async def test_stories_survive_a_restart_and_go_on(client, browser, services, ambient, stories):
    await client.connect(browser, "ada", PASSWORD)
    await services.trace.save()
    again = Trace(StoryStore(services.database), ambient)
    await again.load()
    (before,), (after,) = await services.trace.stories(), await again.stories()
    assert after == before
    (session_id,) = after.sessions
    assert again.is_news(session_id, lambda: client.address)
    again.add("mcp", 200, "POST", "/mcp", client.address, "", session_id=session_id)
    (after,) = await again.stories()
    assert after.steps[-1].kind == "mcp"
    assert not again.is_news(session_id, lambda: client.address)


def step(kind, **about):
    usual = {"status": 200, "method": "GET", "path": "/x", "address": "192.0.2.1", "user_agent": "a"}
    return {"kind": kind, **usual, **about}


async def test_after_thirty_days_a_story_is_gone(services, ambient):
    services.trace.add(**step("registration", client_id="c"))
    await services.trace.save()
    ambient.time += oauth_stories.KEPT + 1
    await services.trace.save()
    assert await services.trace.stories() == []
    assert await StoryStore(services.database).list(0) == []


async def test_strangers_cannot_crowd_out_what_led_to_a_client(services, monkeypatch):
    monkeypatch.setattr(oauth_stories, "MOST_STORIES", 20)
    services.trace.add(**step("authorize", client_id="c", attempt="a", address="192.0.2.250"))
    for number in range(100):
        services.trace.add(**step("discovery", address=f"198.51.100.{number}"))
    found = await services.trace.stories()
    assert len(found) == 20
    assert found[0].client_id == "c"


async def test_strangers_cannot_crowd_out_who_was_given_a_token(services, monkeypatch):
    monkeypatch.setattr(oauth_stories, "MOST_STORIES", 20)
    services.trace.add(**step("token", client_id="c", attempt="a", session_id="s", address="192.0.2.250"))
    for number in range(100):
        services.trace.add(**step("authorize", status=400, client_id=f"x{number}", attempt=str(number)))
    found = await services.trace.stories()
    assert len(found) == 20
    assert found[0].client_id == "c"


async def test_what_strangers_write_is_cut(client, services):
    long = "x" * 30_000
    await client.fetch(f"/authorize?client_id={long}&code_challenge=c")
    await client.fetch("/token", "POST", f"client_id={long}&grant_type=refresh_token")
    await client.fetch("/.well-known/oauth-authorization-server", User_Agent=long)
    await services.trace.save()
    stored = await services.database.fetch_all("select story from stories")
    assert stored
    assert sum(len(row["story"]) for row in stored) < 10_000


async def test_a_client_that_is_everywhere_is_forgotten_with_all_its_addresses(services, ambient, caplog):
    for number in range(50):
        services.trace.add(**step("refresh", client_id="c", session_id="s", address=f"192.0.2.{number}"))
    (story,) = await services.trace.stories()
    assert len(story.addresses) == oauth_stories.MOST_NAMES
    ambient.time += oauth_stories.KEPT + 1
    assert await services.trace.stories() == []
    for number in range(50):
        services.trace.add(**step("discovery", address=f"192.0.2.{number}"))
    assert {story.client_id for story in await services.trace.stories()} == {None}
    assert "step_not_traced" not in caplog.text


async def test_a_flood_takes_little_memory_and_is_counted(services, caplog):
    long = "x" * 30_000
    tracemalloc.start()
    for number in range(10_000):
        about = {"path": f"/{number}{long}", "user_agent": long, "error": long, "client_id": f"{number}{long}"}
        services.trace.add(**step("authorize", address=f"198.51.{number // 250}.{number % 250}", **about))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * 1024**2
    await services.trace.save()
    assert caplog.records[-1].fields == {"count": 10_000 - trace.MOST_WAITING}


async def test_one_address_leaves_the_others_their_room(services):
    for number in range(trace.MOST_WAITING * 2):
        services.trace.add(**step("discovery", path=f"/{number}"))
    services.trace.add(**step("registration", address="192.0.2.9", client_id="c"))
    *_, story = await services.trace.stories()
    assert story.client_id == "c"


async def test_the_same_again_is_counted_before_any_work_is_done(services):
    for number in range(trace.MOST_WAITING * 5):
        # Of two who take turns, too.
        services.trace.add(**step("challenge", address=f"192.0.2.{number % 2}"))
    services.trace.add(**step("discovery", address="192.0.2.0"))
    services.trace.add(**step("challenge", address="192.0.2.0"))
    one, other = sorted(await services.trace.stories(), key=lambda story: story.addresses)
    assert [(step.kind, step.times) for step in one.steps] == [
        ("challenge", trace.MOST_WAITING * 5 / 2),
        ("discovery", 1),
        ("challenge", 1),
    ]
    assert [step.times for step in other.steps] == [trace.MOST_WAITING * 5 / 2]


async def test_what_is_counted_does_not_move_past_what_a_client_did(services):
    challenge, token = step("challenge", status=401), step("token", client_id="c", attempt="a", session_id="s")
    for one in (challenge, token, challenge, {**token, "status": 400, "error": "x"}, challenge, challenge):
        services.trace.add(**one)
    (story,) = await services.trace.stories()
    assert [(step.kind, step.times) for step in story.steps] == [
        ("challenge", 1),
        ("token", 1),
        ("challenge", 1),
        ("token", 1),
        ("challenge", 2),
    ]


async def test_a_flood_leaves_others_their_turn(services):
    for number in range(trace.MOST_WAITING):
        services.trace.add(**step("discovery", address=f"198.51.{number // 250}.{number % 250}"))
    turns = 0

    async def others():
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    waiting = asyncio.create_task(others())
    await services.trace.save()
    waiting.cancel()
    assert turns >= trace.MOST_WAITING / trace.AT_ONCE


async def test_a_client_that_repeats_itself_makes_no_long_story(services):
    for number in range(500):
        services.trace.add(**step("discovery", path="/x" if number < 400 else f"/{number}"))
    (story,) = await services.trace.stories()
    assert story.steps[0].times == 400
    assert len(story.steps) <= oauth_stories.MOST_STEPS
    assert story.steps[-1].what == "GET /499"


@pytest.mark.parametrize("place", ["path", "escaped", "escaped twice", "encoded query", "client_id", "user agent"])
async def test_a_key_in_the_wrong_place_is_not_kept(client, browser, services, stories, place):
    await client.register(token_endpoint_auth_method="client_secret_post")
    await client.redeem(await client.code(browser, "ada", PASSWORD))
    keys = [client.client_secret, client.tokens["access_token"], client.tokens["refresh_token"], client.verifier]
    for key in keys:
        # It is not cut in two either, where what is too long is cut.
        for padding in ("", "/" + "p" * 140):
            match place:
                case "path":
                    await client.fetch(f"/no{padding}/{key}", "POST", {})
                case "escaped":
                    await client.fetch(f"/no{padding}%3Dcode%3D{key}", "POST", {})
                case "escaped twice":
                    await client.fetch(f"/no{padding}%253Dcode%253D{key}%2526", "POST", {})
                case "encoded query":
                    await client.fetch(f"/no{padding}%3fcode={key}&state=short", "POST", {})
                case "client_id":
                    await client.fetch(f"/authorize?client_id={padding}{'/' if padding else ''}{key}&code_challenge=c")
                case "user agent":
                    await client.fetch("/mcp", "POST", {}, User_Agent=f"a{padding}/{key}")
    told = json.dumps(await stories()) + json.dumps([one.model_dump() for one in await services.trace.stories()])
    await services.trace.save()
    told += str([dict(row) for row in await services.database.fetch_all("select * from stories")])
    assert not [key for key in keys if key[:20] in told]
    assert "state=short" not in told
    assert ("[secret]" in told) == (place != "encoded query")


async def test_the_trace_goes_on_after_a_failure(client, services, monkeypatch, caplog):
    monkeypatch.setattr(trace, "SAVING", 0.01)
    writing = asyncio.create_task(services.trace.write())
    create = await services.database.fetch_one("select sql from sqlite_master where name = 'stories'", {})
    await services.database.transact(lambda connection: connection.execute("drop table stories"))
    services.trace.add(**step("discovery"))
    while "trace_not_saved" not in caplog.text:  # noqa: ASYNC110 - the log sets no Event
        await asyncio.sleep(0.01)
    await services.database.transact(lambda connection: connection.execute(create["sql"]))
    services.trace.add(**step("registration", client_id="c"))
    while not await services.database.fetch_all("select * from stories"):  # noqa: ASYNC110 - nor does the disk
        await asyncio.sleep(0.01)
    writing.cancel()


async def test_a_step_that_cannot_be_saved_fails_no_request(client, services, caplog):
    await services.database.transact(lambda connection: connection.execute("drop table stories"))
    assert (await client.fetch("/.well-known/oauth-authorization-server")).status == 200
    await services.trace.save()
    assert "trace_not_saved" in caplog.text


async def test_a_server_that_failed_says_so_itself(client, browser, services, stories):
    await client.register()
    code = await client.code(browser, "ada", PASSWORD)
    await services.database.transact(lambda connection: connection.execute("drop table refresh_tokens"))
    assert (await client.redeem(code)).status == 500
    (story,) = await stories()
    assert story["verdict"] == "this server failed at the last step"


async def test_a_code_of_another_client(client, browser, stories, base_url):
    await client.register()
    code = await client.code(browser, "ada", PASSWORD)
    other = OAuthClient(client.origin, base_url)
    await other.register()
    assert (await client.redeem(code, client_id=other.client_id)).status == 400
    assert "the code was refused: it is another client's" in [story["verdict"] for story in await stories()]


async def test_an_mcp_server_that_is_not_here(client, stories):
    assert (await client.fetch("/mcp/nope", "POST", {})).status == 401
    assert (await client.fetch("/.well-known/oauth-protected-resource/mcp/nope")).status == 404
    assert (await client.fetch("/.well-known/oauth-protected-resource")).status == 200
    (story,) = await stories()
    assert story["verdict"] == "asked for an MCP server that is not here"


def test_every_ending_says_what_to_do_where_something_is_wrong():
    for ending in ENDINGS:
        if ending.verdict.state == "stopped":
            assert ending.verdict.cause
            assert ending.verdict.fix


def test_a_story_without_an_ending_that_is_known_goes_on():
    story = Story(story_id="s", began_at=0, last_at=0, steps=(Step(at=0, kind="discovery", status=200, what="GET /"),))
    assert judge(story, 1).state == "going on"
