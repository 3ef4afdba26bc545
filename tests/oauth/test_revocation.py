"""Ending and inspecting tokens: RFC 7009, RFC 7662."""

import pytest

from tests.conftest import ORIGIN, PASSWORD


async def connected(client, browser, **registration):
    await client.register(**registration)
    return await client.connect(browser, "ada", PASSWORD)


@pytest.fixture
def public(io_loop, client, browser, owner):
    io_loop.run_sync(lambda: connected(client, browser))
    return client


@pytest.fixture
def confidential(io_loop, client, browser, owner):
    io_loop.run_sync(lambda: connected(client, browser, token_endpoint_auth_method=None))
    return client


async def is_over(client, tokens):
    client.tokens = tokens
    refreshed = await client.refresh()
    return (await client.initialize()).status == 401 and refreshed.status == 400 and refreshed.error == "invalid_grant"


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
@pytest.mark.parametrize("hint", [None, "access_token", "refresh_token", "nonsense"])
async def test_revoking_either_token_ends_both(public, at, kind, hint, restart):
    tokens = public.tokens
    assert (await public.initialize()).status == 200
    reply = await public.token(at.revoke, token=tokens[kind], token_type_hint=hint)
    assert reply.status == 200
    assert reply.headers["Cache-Control"] == "no-store"
    assert await is_over(public, tokens)
    await restart()
    assert await is_over(public, tokens)


async def test_revoking_an_older_refresh_token_ends_its_successors(public):
    older = public.tokens["refresh_token"]
    await public.refresh()
    await public.refresh()
    assert (await public.token("/revoke", token=older)).status == 200
    assert await is_over(public, public.tokens)


async def test_revoking_an_access_token_that_has_expired_ends_the_grant(public, ambient):
    tokens = public.tokens
    ambient.time += 3601
    assert (await public.token("/revoke", token=tokens["access_token"])).status == 200
    assert (await public.refresh()).error == "invalid_grant"


async def test_the_clients_other_grants_go_on(public, browser):
    first = public.tokens
    second = await public.connect(browser, "ada", PASSWORD)
    await public.token("/revoke", token=second["refresh_token"])
    assert await is_over(public, second)
    public.tokens = first
    assert (await public.initialize()).status == 200


async def test_an_unknown_token_is_as_good_as_revoked(public, at):
    for token in ("x", "a.b.c", "ü"):
        assert (await public.token(at.revoke, token=token)).status == 200
    assert (await public.initialize()).status == 200


async def test_another_clients_token_looks_the_same_and_lives_on(public, other, at):
    await other.register()
    for kind in ("access_token", "refresh_token"):
        reply = await other.token(at.revoke, token=public.tokens[kind])
        assert reply.status == 200
    assert (await public.initialize()).status == 200
    assert (await public.refresh()).status == 200


@pytest.mark.parametrize("name", ["revoke", "introspect"])
async def test_a_client_must_say_who_it_is(confidential, at, name):
    path, token = getattr(at, name), confidential.tokens["refresh_token"]
    for change in ({"client_secret": None}, {"client_secret": "x"}, {"client_id": None}, {"client_id": "nobody"}):
        reply = await confidential.token(path, token=token, **change)
        assert (reply.status, reply.error) == (401, "invalid_client")
        assert reply.headers["WWW-Authenticate"].startswith("Basic ")
    reply = await confidential.token(path)
    assert (reply.status, reply.error) == (400, "invalid_request")
    assert (await confidential.refresh()).status == 200


async def test_a_client_learns_of_its_own_access_token(confidential, at, ambient):
    token = confidential.tokens["access_token"]
    reply = await confidential.token(at.introspect, token=token)
    assert reply.status == 200
    assert reply.headers["Cache-Control"] == "no-store"
    facts = reply.json
    assert facts.pop("jti")
    assert facts.pop("sid")
    assert facts == {
        "active": True,
        "token_type": "Bearer",
        "client_id": confidential.client_id,
        "sub": "user-ada",
        "aud": f"{ORIGIN}/mcp",
        "iss": ORIGIN,
        "scope": "mcp",
        "iat": ambient.time,
        "exp": ambient.time + 3600,
    }


async def test_a_client_learns_of_its_own_refresh_token(confidential, at, ambient):
    reply = await confidential.token(at.introspect, token=confidential.tokens["refresh_token"])
    assert reply.json == {
        "active": True,
        "client_id": confidential.client_id,
        "sub": "user-ada",
        "aud": f"{ORIGIN}/mcp",
        "scope": "mcp",
        "exp": ambient.time + 30 * 86400,
    }


async def test_a_client_without_a_secret_may_not_ask(public, at):
    for kind in ("access_token", "refresh_token"):
        reply = await public.token(at.introspect, token=public.tokens[kind])
        assert (reply.status, reply.error) == (401, "invalid_client")


async def inactive(client, path, token):
    reply = await client.token(path, token=token)
    return reply.status == 200 and reply.body == b'{"active":false}'


async def test_of_anything_else_it_learns_nothing(confidential, other, at):
    await other.register(token_endpoint_auth_method=None)
    for kind in ("access_token", "refresh_token"):
        assert await inactive(other, at.introspect, confidential.tokens[kind])
    for token in ("x", "a.b.c", confidential.client_secret):
        assert await inactive(confidential, at.introspect, token)


async def test_of_a_paused_client_nothing_is_active(confidential, services, at):
    about = {"client_id": confidential.client_id}
    for operation, quiet in (("client pause", True), ("client resume", False)):
        await services.operations.run(operation, about)
        for kind in ("access_token", "refresh_token"):
            assert await inactive(confidential, at.introspect, confidential.tokens[kind]) == quiet


async def test_what_has_ended_is_inactive(confidential, browser, at, ambient):
    client = confidential
    older = client.tokens["refresh_token"]
    await client.refresh()
    assert (await client.token(at.introspect, token=older)).json["active"] is True
    await client.refresh()
    ambient.time += 61
    # To present it now would be taken for theft.
    assert await inactive(client, at.introspect, older)
    ambient.time += 3600
    assert await inactive(client, at.introspect, client.tokens["access_token"])
    assert (await client.token(at.introspect, token=client.tokens["refresh_token"])).json["active"] is True
    ambient.time += 30 * 86400
    assert await inactive(client, at.introspect, client.tokens["refresh_token"])
    tokens = await client.connect(browser, "ada", PASSWORD)
    await client.token(at.revoke, token=tokens["refresh_token"])
    for token in (tokens["access_token"], tokens["refresh_token"]):
        assert await inactive(client, at.introspect, token)
