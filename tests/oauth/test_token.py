"""A code becomes tokens, once: RFC 6749 §4.1.3, RFC 7636 §4.6."""

import asyncio
from urllib.parse import urlencode

import jwt
import pytest

from tests.conftest import ORIGIN, PASSWORD
from tests.oauth_client import ROOT, SEED


@pytest.fixture
def code(io_loop, client, browser, owner):
    """A fresh code of a public client."""

    async def make():
        await client.register()
        return await client.code(browser, "ada", PASSWORD)

    return io_loop.run_sync(make)


async def test_the_answer(client, code, at, ambient):
    reply = await client.redeem(code, path=at.token)
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["Cache-Control"] == "no-store"
    assert set(reply.json) == {"access_token", "token_type", "expires_in", "refresh_token", "scope"}
    assert reply.json["token_type"] == "Bearer"
    assert (type(reply.json["expires_in"]), reply.json["expires_in"]) == (int, 3600)
    assert reply.json["scope"] == "mcp"
    assert len(reply.json["refresh_token"]) >= 43


async def test_the_access_token_is_of_the_issuer_whose_endpoint_was_used(client, code, at, ambient):
    token = (await client.redeem(code, path=at.token)).json["access_token"]
    header, claims = jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})
    assert (header["typ"], header["alg"]) == ("at+jwt", "HS256")
    assert header["kid"]
    assert set(claims) == {"iss", "sub", "aud", "client_id", "scope", "sid", "jti", "iat", "exp"}
    assert claims["iss"] == ORIGIN + at.issuer
    assert claims["sub"] == "user-ada"
    assert claims["aud"] == f"{ORIGIN}/mcp"
    assert claims["client_id"] == client.client_id
    assert (claims["iat"], claims["exp"]) == (ambient.time, ambient.time + 3600)
    assert (await client.initialize()).status == 200


@pytest.mark.parametrize(("begin", "end"), [(ROOT, SEED), (SEED, ROOT)])
async def test_clients_codes_and_refresh_tokens_are_good_at_both_issuers(client, browser, owner, begin, end):
    await client.register(begin.register)
    code = await client.code(browser, "ada", PASSWORD, path=begin.authorize)
    assert (await client.redeem(code, path=end.token)).status == 200
    assert (await client.refresh(path=begin.token)).status == 200
    assert (await client.initialize()).status == 200
    assert (await client.token(end.revoke, token=client.tokens["refresh_token"])).status == 200
    assert (await client.initialize()).status == 401


REFUSALS = [
    ({"code": "another"}, "invalid_grant"),
    ({"code": ""}, "invalid_request"),
    ({"code": None}, "invalid_request"),
    ({"code_verifier": "w" * 43}, "invalid_grant"),
    ({"code_verifier": "short"}, "invalid_grant"),
    ({"code_verifier": "w" * 129}, "invalid_grant"),
    ({"code_verifier": "ü" * 43}, "invalid_grant"),
    ({"code_verifier": ""}, "invalid_request"),
    ({"code_verifier": None}, "invalid_request"),
    ({"redirect_uri": "http://127.0.0.1:33418/other"}, "invalid_grant"),
    ({"redirect_uri": "http://127.0.0.1:33419/callback"}, "invalid_grant"),
    ({"redirect_uri": "http://localhost:33418/callback"}, "invalid_grant"),
    ({"redirect_uri": None}, "invalid_grant"),
    ({"grant_type": None}, "invalid_request"),
    ({"grant_type": "password"}, "unsupported_grant_type"),
    ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
    ({"grant_type": "implicit"}, "unsupported_grant_type"),
    ({"client_id": "mcp_client_1_nobody"}, "invalid_client"),
    ({"client_id": None}, "invalid_client"),
]


@pytest.mark.parametrize("path", [ROOT.token, SEED.token])
async def test_what_is_refused_never_uses_the_code_up(client, code, path):
    for change, error in REFUSALS:
        reply = await client.redeem(**{"code": code, "path": path, **change})
        assert (change, reply.error) == (change, error)
        assert reply.status == (401 if error == "invalid_client" else 400)
        assert reply.headers["Cache-Control"] == "no-store"
        assert set(reply.json) == {"error", "error_description"}
    assert (await client.redeem(code, path=path)).status == 200


async def test_a_challenge_is_no_verifier(client, code):
    assert (await client.redeem(code, code_verifier=client.challenge)).error == "invalid_grant"


async def test_another_client_cannot_redeem_it(client, other, code):
    await other.register()
    reply = await other.redeem(code, code_verifier=client.verifier)
    assert (reply.status, reply.error) == (400, "invalid_grant")
    assert (await client.redeem(code)).status == 200


async def test_a_replayed_code_revokes_what_the_first_use_got(client, code, at):
    assert (await client.redeem(code)).status == 200
    assert (await client.initialize()).status == 200
    reply = await client.redeem(code, path=at.token)
    assert (reply.status, reply.error) == (400, "invalid_grant")
    assert (await client.initialize()).status == 401
    reply = await client.refresh()
    assert (reply.status, reply.error) == (400, "invalid_grant")


async def test_a_replay_after_refreshes_and_after_the_code_ran_out_revokes_too(client, code, ambient, restart):
    await client.redeem(code)
    ambient.time += 400
    await client.refresh()
    await restart()
    assert (await client.initialize()).status == 200
    assert (await client.redeem(code)).error == "invalid_grant"
    assert (await client.initialize()).status == 401
    assert (await client.refresh()).error == "invalid_grant"


@pytest.mark.parametrize("change", [{"code_verifier": "w" * 43}, {"redirect_uri": "http://127.0.0.1:1/callback"}])
async def test_a_replay_by_somebody_who_knows_less_revokes_nothing(client, code, change):
    await client.redeem(code)
    assert (await client.redeem(code, **change)).error == "invalid_grant"
    assert (await client.initialize()).status == 200


async def test_of_many_redemptions_at_once_exactly_one_succeeds(client, code):
    replies = await asyncio.gather(*(client.redeem(code) for _ in range(6)))
    assert sorted(reply.status for reply in replies) == [200, 400, 400, 400, 400, 400]
    assert {reply.error for reply in replies if reply.status != 200} == {"invalid_grant"}


async def test_a_code_lives_five_minutes(client, browser, code, ambient):
    ambient.time += 299
    late = await client.code(browser, "ada", PASSWORD)
    assert (await client.redeem(code)).status == 200
    ambient.time += 300
    reply = await client.redeem(late)
    assert (reply.status, reply.error) == (400, "invalid_grant")


async def test_a_code_survives_a_restart_and_is_still_used_once(client, code, restart):
    await restart()
    assert (await client.redeem(code)).status == 200
    await restart()
    assert (await client.initialize()).status == 200
    assert (await client.redeem(code)).error == "invalid_grant"


async def test_a_verifier_is_needed_however_the_client_authenticates(client, browser, owner):
    await client.register(token_endpoint_auth_method="client_secret_post")
    code = await client.code(browser, "ada", PASSWORD)
    assert (await client.redeem(code, code_verifier=None)).error == "invalid_request"
    assert (await client.redeem(code)).status == 200


async def test_json_is_tolerated(client, code, at):
    body = {
        "grant_type": "authorization_code",
        "client_id": client.client_id,
        "code": code,
        "redirect_uri": client.redirect_uri,
        "code_verifier": client.verifier,
        "resource": f"{ORIGIN}/mcp",
        "noise": [1],
    }
    reply = await client.fetch(at.token, "POST", body)
    assert reply.status == 200
    body = {"grant_type": "refresh_token", "client_id": client.client_id, "refresh_token": reply.json["refresh_token"]}
    assert (await client.fetch(at.token, "POST", body, Content_Type="application/json; charset=utf-8")).status == 200


UNREADABLE = [
    (b"{", "application/json"),
    (b"[]", "application/json"),
    (b"\xff\xfe", "application/x-www-form-urlencoded"),
    (b"code=%ff", "application/x-www-form-urlencoded"),
    (b"a=1&" * 200, "application/x-www-form-urlencoded"),
]


async def test_a_body_that_cannot_be_read_is_refused(client, at):
    for body, kind in UNREADABLE:
        reply = await client.fetch(at.token, "POST", body, Content_Type=kind)
        assert (reply.status, reply.error) == (400, "invalid_request")


async def test_a_repeated_parameter_is_refused(client, code):
    form = {
        "grant_type": "authorization_code",
        "client_id": client.client_id,
        "code": code,
        "redirect_uri": client.redirect_uri,
        "code_verifier": client.verifier,
        "noise": "x",
    }
    for name, value in form.items():
        reply = await client.fetch("/token", "POST", urlencode([*form.items(), (name, value)]))
        assert (name, reply.status, reply.error) == (name, 400, "invalid_request")
    twice = [("resource", f"{ORIGIN}/mcp")] * 2
    assert (await client.fetch("/token", "POST", urlencode([*form.items(), *twice]))).status == 200


async def test_parameters_in_the_address_do_not_count(client, code):
    query = urlencode({"grant_type": "authorization_code", "code": code, "client_id": client.client_id})
    reply = await client.fetch(f"/token?{query}", "POST", "")
    assert (reply.status, reply.error) == (401, "invalid_client")
    assert (await client.fetch(f"/token?{query}")).status == 405
