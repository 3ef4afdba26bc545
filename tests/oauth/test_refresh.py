"""Refresh tokens: each use brings a successor, a lost answer costs nothing, a copy ends everything."""

import asyncio
import logging

import jwt
import pytest

from tests.conftest import PASSWORD

DAY = 86400


@pytest.fixture
def connected(io_loop, client, browser, owner):
    """A client with its first tokens. ``first`` is its first refresh token."""

    async def connect():
        await client.connect(browser, "ada", PASSWORD)
        client.first = client.tokens["refresh_token"]
        return client

    return io_loop.run_sync(connect)


def session_of(client):
    return jwt.decode(client.tokens["access_token"], options={"verify_signature": False})["sid"]


async def alive(client):
    return (await client.initialize()).status == 200


async def test_a_refresh_brings_new_tokens_and_keeps_the_session(connected, at):
    client = connected
    before, session = dict(client.tokens), session_of(client)
    reply = await client.refresh(path=at.token)
    assert reply.status == 200
    assert set(reply.json) == {"access_token", "token_type", "expires_in", "refresh_token", "scope"}
    assert reply.json["expires_in"] == 3600
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.json["refresh_token"] != before["refresh_token"]
    assert reply.json["access_token"] != before["access_token"]
    assert session_of(client) == session
    assert await alive(client)


async def test_a_lost_answer_is_given_again(connected, ambient, restart):
    client = connected
    successor = (await client.refresh()).json["refresh_token"]
    for seconds, restarts in ((0, False), (59, False), (600, True), (3 * DAY, True)):
        ambient.time += seconds
        if restarts:
            await restart()
        reply = await client.refresh(client.first)
        assert (reply.status, reply.json["refresh_token"]) == (200, successor)
    assert await alive(client)
    assert (await client.refresh(successor)).status == 200


async def test_several_processes_of_one_client_get_the_same_successor(connected):
    replies = await asyncio.gather(*(connected.refresh(connected.first) for _ in range(8)))
    assert {reply.status for reply in replies} == {200}
    assert len({reply.json["refresh_token"] for reply in replies}) == 1
    for reply in replies:
        connected.tokens = reply.json
        assert await alive(connected)


async def use_the_successor(client):
    await client.refresh(client.tokens["refresh_token"])


async def use_the_access_token(client):
    assert await alive(client)


async def use_it_at_me(client):
    reply = await client.fetch("/auth/oauth/me", Authorization=f"Bearer {client.tokens['access_token']}")
    assert reply.status == 200


USES = [use_the_successor, use_the_access_token, use_it_at_me]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("restarts", [False, True], ids=["", "restart"])
async def test_sixty_seconds_after_the_successor_is_used_an_old_token_is_theft(
    connected, ambient, restart, use, restarts
):
    client = connected
    successor = (await client.refresh()).json["refresh_token"]
    ambient.time += 1000
    await use(client)
    if restarts:
        await restart()
    newest = dict(client.tokens)
    ambient.time += 60
    reply = await client.refresh(client.first)
    assert (reply.status, reply.json["refresh_token"]) == (200, successor)
    ambient.time += 1
    client.tokens = newest
    assert await alive(client)
    reply = await client.refresh(client.first)
    assert (reply.status, reply.error) == (400, "invalid_grant")
    # Everything that came from the grant is over, the thief's and the owner's.
    assert not await alive(client)
    for token in (newest["refresh_token"], successor, client.first):
        assert (await client.refresh(token)).error == "invalid_grant"
    await restart()
    assert not await alive(client)
    assert (await client.refresh(newest["refresh_token"])).error == "invalid_grant"


async def test_the_owner_is_told_of_a_theft(connected, browser, services, ambient):
    client = connected
    assert not (await services.operations.status())["notices"]
    await client.refresh()
    await client.refresh()
    ambient.time += 61
    assert (await client.refresh(client.first)).error == "invalid_grant"
    notices = (await services.operations.status())["notices"]
    assert len(notices) == 1
    assert "Test client" in notices[0]
    assert " ".join(notices[0].split()) in (await browser.get("/")).text


async def test_the_access_token_from_before_supersedes_nothing(connected, ambient):
    client = connected
    first = dict(client.tokens)
    successor = (await client.refresh()).json["refresh_token"]
    client.tokens = first
    assert await alive(client)
    ambient.time += 1000
    assert await alive(client)
    assert (await client.refresh(client.first)).json["refresh_token"] == successor


async def test_only_asking_about_a_token_supersedes_nothing(client, browser, owner, ambient):
    await client.register(token_endpoint_auth_method=None)
    await client.connect(browser, "ada", PASSWORD)
    first = client.tokens["refresh_token"]
    successor = (await client.refresh()).json["refresh_token"]
    for token in (client.tokens["access_token"], successor):
        assert (await client.token("/introspect", token=token)).json["active"] is True
    ambient.time += 1000
    assert (await client.refresh(first)).json["refresh_token"] == successor


async def test_a_theft_ends_one_grant_not_the_clients_others(connected, browser, ambient):
    client = connected
    stolen = client.first
    await client.refresh()
    await client.refresh()
    elsewhere = await client.connect(browser, "ada", PASSWORD)
    ambient.time += 61
    assert (await client.refresh(stolen)).error == "invalid_grant"
    client.tokens = elsewhere
    assert await alive(client)
    assert (await client.refresh()).status == 200


async def test_another_client_cannot_use_it_and_ends_nothing(connected, other, ambient):
    await other.register()
    await connected.refresh()
    await connected.refresh()
    ambient.time += 61
    for token in (connected.first, connected.tokens["refresh_token"]):
        reply = await other.refresh(token)
        assert (reply.status, reply.error) == (400, "invalid_grant")
    assert await alive(connected)
    assert (await connected.refresh()).status == 200


async def test_what_is_no_refresh_token_is_refused(connected, browser, at):
    client = connected
    code = await client.code(browser, "ada", PASSWORD)
    for token in ("x", client.tokens["access_token"], code, client.first + "x", "ü", "\x00"):
        reply = await client.refresh(token, path=at.token)
        assert (reply.status, reply.error) == (400, "invalid_grant")
    form = {"grant_type": "refresh_token", "client_id": client.client_id}
    reply = await client.fetch(at.token, "POST", form)
    assert (reply.status, reply.error) == (400, "invalid_request")
    assert (await client.redeem(code)).status == 200


async def test_thirty_days_since_the_last_use(connected, ambient):
    client = connected
    for _ in range(3):
        ambient.time += 30 * DAY - 1
        assert (await client.refresh()).status == 200
        assert await alive(client)
    ambient.time += 30 * DAY
    reply = await client.refresh()
    assert (reply.status, reply.error) == (400, "invalid_grant")


async def test_a_session_that_ended_of_itself_is_opened_again(connected, ambient, restart):
    client = connected
    session = session_of(client)
    ambient.time += DAY
    assert not await alive(client)
    assert (await client.refresh()).status == 200
    assert session_of(client) != session
    assert await alive(client)
    await restart()
    assert await alive(client)


async def test_a_swept_server_still_knows_a_stolen_token(connected, ambient, services):
    client = connected
    await client.refresh()
    await client.refresh()
    ambient.time += 20 * DAY
    await services.sweep.run(ambient.time)
    assert (await client.refresh(client.first)).error == "invalid_grant"
    assert (await client.refresh(client.tokens["refresh_token"])).error == "invalid_grant"


async def test_guesses_do_not_flood_the_log_and_hide_no_theft(connected, ambient, caplog):
    caplog.set_level(logging.INFO)
    await connected.refresh()
    assert await alive(connected)
    ambient.time += 61
    kept = {}
    for token in ("guess", connected.first):
        connected.tokens["refresh_token"] = token
        assert (await connected.refresh()).error == "invalid_grant"
        kept[token] = [one for one in caplog.records if one.getMessage() == "refresh_refused"][-1]
    assert getattr(kept["guess"], "bounded", False)
    assert (kept[connected.first].levelname, getattr(kept[connected.first], "bounded", False)) == ("WARNING", False)
