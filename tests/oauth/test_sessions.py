"""Sessions: five clients and five browsers for each user, and a day without use."""

import pytest

from tests.browser import Browser
from tests.conftest import ORIGIN, PASSWORD
from tests.oauth_client import OAuthClient


@pytest.fixture
def connect(http_server, base_url, browser, owner, ambient):
    """Another client of the owner's, connected; a second later than the one before."""

    async def connect(name):
        client = OAuthClient(ORIGIN, base_url)
        await client.register(client_name=name)
        await client.connect(browser, "ada", PASSWORD)
        ambient.time += 1
        return client

    return connect


async def works(client):
    return (await client.initialize()).status == 200


async def test_a_sixth_client_stops_the_one_used_least_recently_at_once(connect, ambient):
    clients = [await connect(f"client {number}") for number in range(5)]
    ambient.time += 1
    assert await works(clients[0])  # now the second is the one
    ambient.time += 1
    sixth = await connect("client 6")
    refused = await clients[1].initialize()
    assert refused.status == 401
    assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]
    for client in (clients[0], *clients[2:], sixth):
        assert await works(client)


async def test_who_was_stopped_comes_back_with_its_refresh_token_and_without_the_person(connect, ambient):
    clients = [await connect(f"client {number}") for number in range(6)]
    assert not await works(clients[0])
    ambient.time += 1
    assert (await clients[0].refresh()).status == 200
    assert await works(clients[0])
    assert not await works(clients[1])  # which was the least recently used then


async def test_one_without_an_unexpired_access_token_goes_first(connect, ambient):
    idle = await connect("idle")
    others = [await connect(f"client {number}") for number in range(4)]
    ambient.time += 100
    assert (await idle.refresh()).status == 200
    ambient.time += 10
    for client in others:
        assert await works(client)  # so that the idle one is the least recently used
    ambient.time += 3495  # and the only one whose access token has not run out
    sixth = await connect("sixth")
    assert await works(idle)
    assert await works(sixth)
    alive = [(await client.refresh()).json["access_token"] for client in others[1:]]
    assert len(alive) == 3
    assert await works(idle)


async def test_an_old_access_token_stays_dead_when_its_client_comes_back(connect, ambient):
    clients = [await connect(f"client {number}") for number in range(6)]
    old = clients[0].tokens["access_token"]
    assert (await clients[0].refresh()).status == 200
    clients[0].tokens = {**clients[0].tokens, "access_token": old}
    assert not await works(clients[0])


async def test_another_users_clients_do_not_count(connect, services, base_url, ambient):
    clients = [await connect(f"client {number}") for number in range(5)]
    await services.operations.run("user add", {"name": "bob", "role": "member", "password": PASSWORD})
    bobs = OAuthClient(ORIGIN, base_url)
    await bobs.connect(Browser(ORIGIN, base_url), "bob", PASSWORD)
    for client in (*clients, bobs):
        assert await works(client)


async def test_the_sixth_browser_signs_out_the_one_used_least_recently(base_url, http_server, owner, ambient):
    browsers = [Browser(ORIGIN, base_url) for _ in range(6)]
    for one in browsers:
        await one.sign_in(await one.get("/auth/oauth/signin"), "ada", PASSWORD)
        ambient.time += 1
    signed_in = ["You are signed in" in (await one.get("/auth/oauth/signin")).text for one in browsers]
    assert signed_in == [False, True, True, True, True, True]
