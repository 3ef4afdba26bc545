"""Clients that prove themselves with a key: private_key_jwt (RFC 7523), published or registered."""

import asyncio
import json

import jwt
import pytest

from mcpauth.oauth import jwks
from tests.conftest import PASSWORD
from tests.fakes.documents import ASSERTION_TYPE, ClientKey, unsigned

LOCAL = "http://localhost:3210"

KEY = ClientKey()
AUDIENCES = [LOCAL, f"{LOCAL}/mcp", f"{LOCAL}/token", f"{LOCAL}/auth/oauth/token"]


@pytest.fixture
def prove(client, ambient):
    """The form with which ``client`` proves itself now."""

    def prove(key=KEY, audience=LOCAL, **changes):
        return key.form(client.client_id, audience, ambient.now(), **changes)

    return prove


@pytest.fixture
def sign(client, host, browser, owner, prove):
    """Connects ``client`` as one that publishes itself and its keys, and signs."""

    async def sign(key=KEY, **changes):
        given = {
            "token_endpoint_auth_method": "private_key_jwt",
            "token_endpoint_auth_signing_alg": key.algorithm,
            "jwks_uri": host.publish_keys(key),
            **changes,
        }
        client.client_id, client.redirect_uri = host.publish(**given), "http://127.0.0.1:4/callback"
        code = await client.code(browser, "ada", PASSWORD)
        return await client.redeem(code, **prove(key))

    return sign


async def test_chatgpt_connects_with_its_key_and_without(client, host, browser, owner, prove, at):
    """Its real document: either method is good, and a grant that began with the key goes on with it."""
    document = {
        "client_uri": "https://chatgpt.com/",
        "redirect_uris": ["https://chatgpt.com/connector_platform_oauth_redirect"],
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "client_name": "ChatGPT",
        "logo_uri": "https://chatgpt.com/logo.png",
        "token_endpoint_auth_signing_alg": "RS256",
        "jwks_uri": host.publish_keys(KEY),
    }
    client.client_id = host.publish("/oauth/client.json", **document)
    client.redirect_uri = document["redirect_uris"][0]
    for form in (dict, prove):
        code = await client.code(browser, "ada", PASSWORD, path=at.authorize)
        reply = await client.redeem(code, path=at.token, **form())
        assert reply.status == 200, reply.body
        reply = await client.refresh(path=at.token, **form())
        assert reply.status == 200, reply.body
        assert (await client.call("tools/list")).status == 200
    # Now the grant is one of the key.
    reply = await client.refresh(path=at.token)
    assert (reply.status, reply.error) == (401, "invalid_client")
    assert (await client.token(at.revoke, token=client.tokens["refresh_token"])).error == "invalid_client"
    assert (await client.token(at.revoke, token=client.tokens["access_token"])).error == "invalid_client"
    assert (await client.call("tools/list")).status == 200
    assert (await client.refresh(path=at.token, **prove())).status == 200


async def test_a_grant_that_began_without_a_key_may_move_to_one_and_not_back(client, host, sign, browser, prove):
    reply = await sign(token_endpoint_auth_methods_supported=["none"])
    assert reply.status == 200
    code = await client.code(browser, "ada", PASSWORD)
    assert (await client.redeem(code)).status == 200
    before = client.tokens["refresh_token"]
    assert (await client.refresh(**prove())).status == 200
    for token in (before, client.tokens["refresh_token"]):
        reply = await client.refresh(token)
        assert (reply.status, reply.error) == (401, "invalid_client")
    assert (await client.token("/revoke", token=client.tokens["access_token"])).error == "invalid_client"
    # Whoever had only the token spoiled nothing.
    assert (await client.refresh(**prove())).status == 200


async def test_what_declares_the_key_alone_gets_nothing_without_it(client, sign, browser, prove):
    assert (await sign()).status == 200
    code = await client.code(browser, "ada", PASSWORD)
    for form in ({}, {"client_secret": "x"}):
        reply = await client.redeem(code, **form)
        assert (reply.status, reply.error) == (401, "invalid_client")
    assert (await client.redeem(code, **prove())).status == 200


async def test_what_does_not_declare_the_key_cannot_use_one(client, host, browser, owner, prove):
    client.client_id = host.publish(jwks_uri=host.publish_keys(KEY))
    await client.connect(browser, "ada", PASSWORD)
    reply = await client.refresh(**prove())
    assert (reply.status, reply.error) == (401, "invalid_client")
    assert "/jwks.json" not in host.requests


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_each_algorithm_with_keys_by_value_and_by_reference(client, host, sign, prove, algorithm):
    key = ClientKey(algorithm)
    assert (await sign(key)).status == 200
    assert (await sign(key, jwks_uri=None, jwks={"keys": [ClientKey().jwk, key.jwk]})).status == 200
    assert (await client.refresh(**prove(key))).status == 200
    # Without a kid every key that fits is tried.
    assert (await client.refresh(**prove(key, headers={"kid": None}))).status == 200


async def test_a_registered_client_may_use_a_key_too(client, host, browser, owner, prove, at):
    await client.register(
        at.register, token_endpoint_auth_method="private_key_jwt", jwks_uri=host.publish_keys(KEY), grant_types=None
    )
    assert client.registration["token_endpoint_auth_method"] == "private_key_jwt"
    assert client.registration["jwks_uri"] == f"{host.url}/jwks.json"
    assert not {"client_secret", "client_secret_expires_at"} & client.registration.keys()
    code = await client.code(browser, "ada", PASSWORD)
    assert (await client.redeem(code)).error == "invalid_client"
    assert (await client.redeem(code, **prove())).status == 200
    assert (await client.refresh(**prove())).status == 200
    token = client.tokens["access_token"]
    reply = await client.token(at.introspect, token=token, **prove())
    assert reply.json["active"] is True
    assert (await client.token(at.introspect, token=token)).status == 401
    assert (await client.token(at.revoke, token=token, **prove())).status == 200
    assert (await client.initialize()).status == 401


async def test_keys_may_be_registered_by_value(client, browser, owner, prove):
    reply = await client.register(token_endpoint_auth_method="private_key_jwt", jwks={"keys": [KEY.jwk]})
    assert reply.json["jwks"] == {"keys": [KEY.jwk]}
    code = await client.code(browser, "ada", PASSWORD)
    assert (await client.redeem(code, **prove())).status == 200


UNUSABLE = [
    {},
    {"jwks": {"keys": [KEY.jwk]}, "jwks_uri": "https://vendor.example/jwks"},
    {"jwks": {"keys": []}},
    {"jwks": {"keys": ["x"]}},
    {"jwks": {"keys": [KEY.jwk] * 21}},
    {"jwks": {"keys": [{**KEY.jwk, "d": "AQAB"}]}},
    {"jwks": {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}},
    {"jwks": {"keys": [{**KEY.jwk, "n": "A" * 9000}]}},
    {"jwks": {"keys": [{**KEY.jwk, "kid": ["x"]}]}},
    {"jwks": []},
    {"jwks_uri": "http://vendor.example/jwks"},
    {"jwks_uri": "https://vendor.example"},
    {"jwks_uri": 7},
    {"jwks_uri": "https://vendor.example/jwks", "token_endpoint_auth_signing_alg": "HS256"},
    {"jwks_uri": "https://vendor.example/jwks", "token_endpoint_auth_signing_alg": "none"},
]


async def test_keys_that_cannot_be_used_are_not_registered(client):
    for keys in UNUSABLE:
        reply = await client.register(token_endpoint_auth_method="private_key_jwt", **keys)
        assert (reply.status, reply.error) == (400, "invalid_client_metadata"), keys
        assert "jwks" in reply.json["error_description"] or "signing_alg" in reply.json["error_description"]


async def test_of_a_key_only_what_is_needed_is_kept(client):
    nested = json.loads("[" * 300 + "]" * 300)
    keys = {"keys": [{**KEY.jwk, "x5c": ["AAAA"], "vendor": nested}]}
    reply = await client.register(token_endpoint_auth_method="private_key_jwt", jwks=keys)
    assert reply.status == 201
    assert reply.json["jwks"] == {"keys": [KEY.jwk]}


async def test_a_key_that_no_database_can_hold_makes_no_client(client, host):
    keys = {"keys": [{**KEY.jwk, "kid": "\ud800"}]}
    client_id = host.publish(token_endpoint_auth_method="private_key_jwt", jwks=keys)
    assert (await client.fetch(client.authorization_url(client_id=client_id))).status == 400


async def test_it_may_be_made_out_to_either_issuer_or_its_token_endpoint(client, sign, prove, at):
    await sign()
    for audience in [*AUDIENCES, [LOCAL]]:
        assert (await client.refresh(path=at.token, **prove(audience=audience))).status == 200


async def test_an_assertion_that_is_not_for_us_now_and_by_this_client_is_refused(client, sign, prove, ambient):
    await sign()
    now, key = ambient.now(), KEY
    for form in (
        prove(audience=None),
        prove(audience=f"{LOCAL}/"),
        prove(audience="https://elsewhere.example"),
        prove(audience=[LOCAL, "https://elsewhere.example"]),
        prove(audience=[]),
        prove(audience=f"{LOCAL}/revoke"),
        prove(iss="https://chatgpt.com/oauth/client.json"),
        prove(sub="https://chatgpt.com/oauth/client.json"),
        prove(iss=None),
        prove(sub=None),
        prove(exp=None),
        prove(exp=now - 60),
        prove(exp=now + 3661),
        prove(exp="soon"),
        prove(exp=True),
        prove(iat=now + 61),
        prove(nbf=now + 61),
        prove(jti=None),
        prove(jti=""),
        prove(jti="x" * 501),
        prove(jti=7),
        prove(ClientKey()),
        prove(ClientKey(kid=key.kid)),
        prove(ClientKey("ES256", kid=key.kid)),
        prove(headers={"crit": ["exp"]}),
        {"client_assertion_type": ASSERTION_TYPE, "client_assertion": "a.b.c"},
        {"client_assertion_type": ASSERTION_TYPE, "client_assertion": "x" * 20000},
        {"client_assertion_type": ASSERTION_TYPE, "client_assertion": None},
    ):
        reply = await client.refresh(**form)
        assert (reply.status, reply.error) == (401, "invalid_client"), form
    for form in (prove(exp=now - 59), prove(exp=now + 3600), prove(iat=now + 60), prove(iat=None)):
        assert (await client.refresh(**form)).status == 200


async def test_what_is_not_signed_with_a_private_key_is_refused(client, sign, ambient):
    await sign()
    claims = {"iss": client.client_id, "sub": client.client_id, "aud": LOCAL, "exp": ambient.now() + 60, "jti": "1"}
    modulus = KEY.jwk["n"].encode()
    signed_with_the_public_key = jwt.encode(claims, modulus, algorithm="HS256", headers={"kid": KEY.kid})
    for text in (
        unsigned({"alg": "none", "kid": KEY.kid}, claims),
        unsigned({"alg": "None", "kid": KEY.kid}, claims, b"x"),
        unsigned({"alg": "RS256", "kid": KEY.kid}, claims),
        unsigned({"alg": "RS256", "kid": KEY.kid}, claims, b"\0" * 256),
        unsigned({"alg": ["RS256"], "kid": KEY.kid}, claims, b"x"),
        unsigned({"alg": "RS256", "kid": KEY.kid, "jwk": KEY.jwk}, claims, b"x"),
        signed_with_the_public_key,
    ):
        reply = await client.refresh(client_assertion_type=ASSERTION_TYPE, client_assertion=text)
        assert (reply.status, reply.error) == (401, "invalid_client")


@pytest.mark.parametrize("claims", [{"iss": "\ud800", "sub": "\ud800"}, {"jti": "\ud800"}])
async def test_half_a_character_is_refused(client, sign, prove, claims):
    await sign()
    reply = await client.refresh(**prove(**claims))
    assert (reply.status, reply.error) == (401, "invalid_client")


async def test_weak_keys_and_keys_for_something_else_do_not_count(client, host, sign, prove):
    weak = ClientKey(size=1024)
    jwks_uri = host.publish_keys(weak, path="/weak-keys.json")
    assert (await sign(weak, path="/weak.json", jwks_uri=jwks_uri)).error == "invalid_client"
    assert (await sign()).status == 200
    for changes in ({"use": "enc"}, {"alg": "PS256"}):
        host.documents["/jwks.json"] = {"keys": [{**KEY.jwk, **changes}]}
        assert not jwks.fitting(host.documents["/jwks.json"]["keys"], KEY.kid, "RS256")
    assert (await client.refresh(**prove(ClientKey("ES256")))).error == "invalid_client"


async def test_an_assertion_counts_once_across_restarts(client, sign, prove, restart, at):
    await sign()
    form = prove()
    assert (await client.refresh(**form)).status == 200
    for path in (at.token, at.revoke):
        reply = await client.token(path, grant_type="refresh_token", token="x", **form)
        assert (reply.status, reply.error) == (401, "invalid_client")
    await restart()
    assert (await client.refresh(**form)).error == "invalid_client"
    replies = await asyncio.gather(*(client.refresh(**form) for form in [prove()] * 4))
    assert sorted(reply.status for reply in replies) == [200, 401, 401, 401]


async def test_one_way_at_a_time(client, sign, prove):
    await sign()
    for form in (
        {**prove(), "client_secret": "x"},
        {**prove(), "headers": {"Authorization": "Basic eDp5"}},
        {**prove(), "client_id": "mcp_client_1_other"},
        {**prove(), "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"},
        {**prove(), "client_assertion_type": None},
    ):
        reply = await client.refresh(**form)
        assert (reply.status, reply.error) == (400, "invalid_request")
    # The assertion says who it is: the client_id may be left out.
    assert (await client.refresh(**{**prove(), "client_id": None})).status == 200


async def test_a_new_key_is_found_when_it_is_used(client, host, sign, prove, ambient):
    await sign()
    new = ClientKey()
    host.publish_keys(KEY, new)
    ambient.time += 61
    assert (await client.refresh(**prove(new))).status == 200
    assert host.requests["/jwks.json"] == 2


async def test_a_key_nobody_has_is_asked_for_once_and_not_at_will(client, host, sign, prove, ambient):
    await sign()
    for _ in range(3):
        # The copy is new: what is not in it may be newer still, so nothing is said of the client.
        ambient.time += 1
        reply = await client.refresh(**prove(ClientKey()))
        assert (reply.status, reply.error) == (503, "temporarily_unavailable")
        assert int(reply.headers["Retry-After"]) > 0
    assert host.requests["/jwks.json"] == 1
    ambient.time += 61
    assert (await client.refresh(**prove(ClientKey()))).error == "invalid_client"
    assert host.requests["/jwks.json"] == 2


async def test_keys_that_cannot_be_fetched_are_nobodys_fault(client, host, sign, prove, ambient, restart):
    await sign()
    host.documents.pop("/jwks.json")
    # A copy serves for seven days, a restart in between or not.
    for days in (1, 5):
        ambient.time += days * 86400
        assert (await client.refresh(**prove())).status == 200
        await restart()
    ambient.time += 86400 + 1
    for path in ("/token", "/revoke", "/introspect"):
        form = {"grant_type": "refresh_token", "refresh_token": client.tokens["refresh_token"], "token": "x"}
        reply = await client.token(path, **form, **prove())
        assert (reply.status, reply.error) == (503, "temporarily_unavailable")
        assert reply.headers["Retry-After"]
    host.publish_keys(KEY)
    assert (await client.refresh(**prove())).status == 200


@pytest.mark.parametrize("body", [b"no json", b"{}", b'{"keys": []}', json.dumps({"keys": [{"d": "x"}]}).encode()])
async def test_keys_that_are_no_good_are_nobodys_fault_either(client, host, browser, owner, sign, prove, body):
    host.documents["/bad.json"] = body
    reply = await sign(jwks_uri=f"{host.url}/bad.json")
    assert (reply.status, reply.error) == (503, "temporarily_unavailable")


async def test_keys_are_fetched_for_approved_clients_alone(client, host, prove):
    await client.register(token_endpoint_auth_method="private_key_jwt", jwks_uri=host.publish_keys(KEY))
    for client_id in (client.client_id, host.publish(jwks_uri=f"{host.url}/jwks.json")):
        client.client_id = client_id
        for path in ("/token", "/revoke", "/introspect"):
            reply = await client.token(path, grant_type="refresh_token", token="x", **prove())
            assert (reply.status, reply.error) == (401, "invalid_client")
    assert not host.requests


async def test_registered_clients_on_two_devices_are_two_grants(client, other, browser, owner, prove):
    """Signing one out leaves the other."""
    await client.register(token_endpoint_auth_method="private_key_jwt", jwks={"keys": [KEY.jwk]})
    other.client_id, other.redirect_uri = client.client_id, client.redirect_uri
    for device in (client, other):
        code = await device.code(browser, "ada", PASSWORD)
        assert (await device.redeem(code, **prove())).status == 200
    assert (await client.token("/revoke", token=client.tokens["access_token"], **prove())).status == 200
    assert (await client.initialize()).status == 401
    assert (await client.refresh(**prove())).error == "invalid_grant"
    assert (await other.initialize()).status == 200
    assert (await other.refresh(**prove())).status == 200
