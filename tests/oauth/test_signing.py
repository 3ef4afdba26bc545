"""Signing with the algorithm that is configured, and the keys that are published for it."""

import base64
import hashlib
import hmac
import json

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from tests.conftest import ORIGIN, PASSWORD

KEY_TYPES = {"RS256": "RSA", "ES256": "EC", "EdDSA": "OKP"}
JWKS = ["/jwks", "/.well-known/jwks.json"]
SECRET = {"d", "p", "q", "dp", "dq", "qi", "k"}


@pytest.mark.parametrize("path", JWKS)
async def test_hs256_publishes_nothing(client, path):
    reply = await client.fetch(path, Accept="text/html")
    assert reply.status == 200
    assert reply.json == {"keys": []}
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert reply.headers["Content-Type"] == "application/json"


class TestAsymmetric:
    @pytest.fixture(params=KEY_TYPES)
    def algorithm(self, request):
        return request.param

    @pytest.fixture
    def environment(self, environment, algorithm):
        return {**environment, "MCP_OAUTH_JWT_ALGORITHM": algorithm}

    @pytest.mark.parametrize("path", JWKS)
    async def test_anybody_can_verify_with_the_published_key(self, client, browser, owner, restart, algorithm, path):
        await client.connect(browser, "ada", PASSWORD)
        token = client.tokens["access_token"]
        assert (await client.initialize()).status == 200
        (published,) = (await client.fetch(path)).json["keys"]
        assert (published["kty"], published["alg"], published["use"]) == (KEY_TYPES[algorithm], algorithm, "sig")
        assert not SECRET & set(published)
        header = jwt.get_unverified_header(token)
        assert (header["alg"], header["kid"], header["typ"]) == (algorithm, published["kid"], "at+jwt")
        claims = jwt.decode(
            token,
            jwt.PyJWKSet.from_dict({"keys": [published]})[header["kid"]],
            algorithms=[algorithm],
            audience=f"{ORIGIN}/mcp",
            issuer=ORIGIN,
            options={"verify_exp": False, "verify_iat": False},
        )
        assert claims["sub"] == "user-ada"
        await restart()
        assert (await client.fetch(path)).json == {"keys": [published]}
        assert (await client.initialize()).status == 200

    async def test_a_public_key_is_no_secret_to_sign_with(self, client, browser, owner, services):
        await client.connect(browser, "ada", PASSWORD)
        head, body, _ = client.tokens["access_token"].split(".")
        header = json.loads(base64.urlsafe_b64decode(head + "=="))
        (path,) = services.settings.data_dir.glob("signing-*.key")
        public = serialization.load_pem_private_key(path.read_bytes(), None).public_key()
        (published,) = (await client.fetch("/jwks")).json["keys"]
        pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        for algorithm in ("HS256", header["alg"]):
            confused = base64.urlsafe_b64encode(json.dumps({**header, "alg": algorithm}).encode()).rstrip(b"=").decode()
            for key in (pem, pem.strip(), json.dumps(published).encode()):
                digest = hmac.digest(key, f"{confused}.{body}".encode(), hashlib.sha256)
                signature = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
                client.tokens["access_token"] = f"{confused}.{body}.{signature}"
                assert (await client.initialize()).status == 401

    async def test_the_private_key_is_for_the_owners_eyes(self, client, services):
        (path,) = services.settings.data_dir.glob("signing-*.key")
        assert path.stat().st_mode & 0o777 == 0o600


async def test_another_algorithm_ends_no_connection(client, browser, owner, environment, restart):
    await client.connect(browser, "ada", PASSWORD)
    environment["MCP_OAUTH_JWT_ALGORITHM"] = "ES256"
    await restart()
    assert (await client.initialize()).status == 401
    assert (await client.refresh()).status == 200
    assert jwt.get_unverified_header(client.tokens["access_token"])["alg"] == "ES256"
    assert (await client.initialize()).status == 200


class TestOwnSecret:
    SECRET = "a secret of the owner's, of 32 bytes or more"

    @pytest.fixture
    def environment(self, environment):
        return {**environment, "MCP_OAUTH_JWT_SECRET": self.SECRET}

    async def test_tokens_are_signed_with_it(self, client, browser, owner, environment, restart):
        await client.connect(browser, "ada", PASSWORD)
        options = {"verify_exp": False, "verify_iat": False, "verify_aud": False}
        assert jwt.decode(client.tokens["access_token"], self.SECRET, algorithms=["HS256"], options=options)
        environment["MCP_OAUTH_JWT_SECRET"] = "another secret, which is as long as the first"
        await restart()
        assert (await client.initialize()).status == 401
        assert (await client.refresh()).status == 200
        assert (await client.initialize()).status == 200
