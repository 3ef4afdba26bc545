"""Who a client is at the token endpoint: none, basic or post (RFC 6749 §2.3)."""

import base64

import pytest

from tests.conftest import PASSWORD


def basic(name, secret):
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}


def escaped(text):
    """Form-encoded as thoroughly as can be."""
    return "".join(f"%{byte:02X}" for byte in text.encode())


@pytest.fixture(params=["client_secret_basic", "client_secret_post", None])
def confidential(request, io_loop, client, browser, owner):
    """A client with a secret, connected; it registered to use it that way."""

    async def connect():
        await client.register(token_endpoint_auth_method=request.param)
        await client.connect(browser, "ada", PASSWORD)
        return client

    return io_loop.run_sync(connect)


async def test_a_secret_may_come_either_way_whatever_was_registered(confidential, at):
    client = confidential
    assert (await client.refresh(path=at.token)).status == 200
    for name, secret in (
        (client.client_id, client.client_secret),
        (escaped(client.client_id), escaped(client.client_secret)),
    ):
        for in_body in (None, client.client_id):
            headers = basic(name, secret)
            reply = await client.refresh(path=at.token, client_id=in_body, client_secret=None, headers=headers)
            assert reply.status == 200, reply.body
    lower = {"Authorization": basic(client.client_id, client.client_secret)["Authorization"].replace("Basic", "basic")}
    assert (await client.refresh(client_id=None, client_secret=None, headers=lower)).status == 200


async def test_a_wrong_or_missing_secret_is_invalid_client(confidential, other, at):
    for grant in ["refresh_token", "authorization_code", "password"]:
        client = confidential
        await other.register(token_endpoint_auth_method=None)
        right = client.client_secret
        for secret in (None, "", "x", right[:-1], right + "0", right.upper() + "x", other.client_secret):
            for given in (
                {"client_secret": secret},
                {"client_secret": None, "client_id": None, "headers": basic(client.client_id, secret or "")},
            ):
                reply = await client.refresh(path=at.token, grant_type=grant, **given)
                assert (reply.status, reply.error) == (401, "invalid_client")
                assert reply.headers["WWW-Authenticate"].startswith("Basic ")
                assert reply.headers["Cache-Control"] == "no-store"
        assert (await client.refresh(path=at.token)).status == 200


async def test_a_header_that_cannot_be_read_is_invalid_client(confidential):
    for header in ["Basic", "Basic ", "Basic !!!", "Basic bm9jb2xvbg==", "Basic //79/A==", "Basic Og=="]:
        reply = await confidential.refresh(client_id=None, client_secret=None, headers={"Authorization": header})
        assert (reply.status, reply.error) == (401, "invalid_client")


async def test_one_way_at_a_time(confidential):
    headers = basic(confidential.client_id, confidential.client_secret)
    reply = await confidential.refresh(headers=headers)
    assert (reply.status, reply.error) == (400, "invalid_request")
    reply = await confidential.refresh(client_id="mcp_client_1_other", client_secret=None, headers=headers)
    assert (reply.status, reply.error) == (400, "invalid_request")


async def test_a_secret_cannot_redeem_what_another_client_was_given(confidential, other, browser):
    await other.register(token_endpoint_auth_method=None)
    code = await confidential.code(browser, "ada", PASSWORD)
    reply = await other.redeem(code, code_verifier=confidential.verifier)
    assert (reply.status, reply.error) == (400, "invalid_grant")
    reply = await other.refresh(confidential.tokens["refresh_token"])
    assert (reply.status, reply.error) == (400, "invalid_grant")
    assert (await confidential.redeem(code)).status == 200


async def test_a_public_client_needs_its_name_only(client, browser, owner):
    await client.connect(browser, "ada", PASSWORD)
    headers = basic(client.client_id, "")
    assert (await client.refresh(client_id=None, headers=headers)).status == 200
    reply = await client.refresh(client_id=None)
    assert (reply.status, reply.error) == (401, "invalid_client")
