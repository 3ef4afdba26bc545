"""How many registrations there may be, and how long they last."""

import re

import pytest

from mcpauth.models.records import Client, ClientMetadata
from mcpauth.oauth.client_registration import MOST_UNUSED
from tests.conftest import PASSWORD

DAY = 86400


async def register_many(client, count):
    return [(await client.register()).status for _ in range(count)]


async def test_an_ipv4_address_is_itself_however_it_is_written(client):
    for number in range(20):
        client.address = ("198.51.100.77", "::ffff:198.51.100.77", "::FFFF:C633:644D")[number % 3]
        assert (await client.register()).status == 201
    for address in ("198.51.100.77", "::ffff:198.51.100.77"):
        client.address = address
        assert (await client.register()).status == 429
    client.address = "::ffff:198.51.100.78"
    assert (await client.register()).status == 201


async def test_twenty_an_hour_from_one_address(client, ambient):
    assert set(await register_many(client, 20)) == {201}
    ambient.time += 600
    refused = await client.register()
    assert refused.status == 429
    assert refused.error == "temporarily_unavailable"
    assert refused.headers["Retry-After"] == "3000"
    assert (await client.register("/.well-known/oauth-registration/mcp")).status == 429
    client.address = "198.51.100.10"
    assert (await client.register()).status == 201
    client.address = "198.51.100.9"
    ambient.time += 3000
    assert (await client.register()).status == 201


async def test_one_ipv6_customer_is_one_address(client):
    for number in range(20):
        client.address = f"2001:db8:1:2::{number:x}"
        assert (await client.register()).status == 201
    client.address = "2001:db8:1:2:ffff::1"
    assert (await client.register()).status == 429
    client.address = "2001:db8:1:3::1"
    assert (await client.register()).status == 201


async def test_an_address_that_the_client_makes_up_does_not_count(client):
    for number in range(20):
        assert (await client.register()).status == 201, number
        client.address = f"203.0.113.{number}, 198.51.100.9"
    assert (await client.register()).status == 429


async def test_of_ten_thousand_unused_ones_the_oldest_goes(client, other, browser, owner, services, ambient):
    await client.connect(browser, "ada", PASSWORD)
    used, ambient.time = client.client_id, ambient.time + 1
    await client.register()
    oldest, ambient.time = client.client_id, ambient.time + 1

    def fill(connection):
        connection.executemany(
            "insert into clients (client_id, client_name, metadata, preregistered, created_at)"
            " values (?, 'x', '{\"redirect_uris\": [\"https://a.example/\"]}', 0, ?)",
            [(f"filler-{number}", ambient.time) for number in range(MOST_UNUSED - 1)],
        )

    await services.database.transact(fill)
    assert await services.clients.find(oldest) is not None
    assert (await other.register()).status == 201
    assert await services.clients.find(oldest) is None
    assert await services.clients.find(used) is not None
    assert await services.clients.find(other.client_id) is not None
    assert len(await services.clients.list_all()) == MOST_UNUSED + 1


async def test_unused_clients_go_after_ninety_days_and_used_ones_never(
    client, other, browser, owner, services, ambient
):
    await client.connect(browser, "ada", PASSWORD)
    await other.register()
    given = {
        "metadata": ClientMetadata(redirect_uris=("https://a.example/",)),
        "secret_hash": None,
        "registration_token_hash": None,
        "used_at": None,
    }
    await services.clients.add(Client(client_id="own", preregistered=True, created_at=ambient.time, **given), 10)
    ambient.time += 90 * DAY - 1
    await services.sweep.run(ambient.time)
    assert await services.clients.find(other.client_id) is not None
    ambient.time += 1
    await services.sweep.run(ambient.time)
    assert await services.clients.find(other.client_id) is None
    ambient.time += 3650 * DAY
    await services.sweep.run(ambient.time)
    assert await services.clients.find(client.client_id) is not None
    assert await services.clients.find("own") is not None
    page = await browser.request(client.authorization_url())
    assert page.status == 302


async def test_a_swept_client_is_told_to_register_again(client, browser, services, ambient):
    await client.register()
    ambient.time += 90 * DAY
    await services.sweep.run(ambient.time)
    page = await browser.request(client.authorization_url())
    assert page.status == 400
    assert re.search(r"add it again: it then registers anew", page.text)
    reply = await client.refresh("x")
    assert (reply.status, reply.error) == (401, "invalid_client")


@pytest.mark.parametrize("path", ["/register", "/.well-known/oauth-registration/mcp"])
async def test_registrations_are_on_disk_before_they_are_answered(client, browser, restart, path):
    await client.register(path)
    await restart()
    assert (await browser.request(client.authorization_url())).status == 302
