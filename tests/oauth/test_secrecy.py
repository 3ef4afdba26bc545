"""A secret is in nobody's database file and in nobody's log."""

import logging

import pytest

from tests.browser import Browser
from tests.conftest import ORIGIN, PASSWORD
from tests.oauth_client import answer


@pytest.fixture
def secrets(io_loop, client, browser, base_url, owner, caplog):
    """Everything that was secret in a life with sign-in, refusals, refreshes, a replay and a theft."""
    caplog.set_level(logging.DEBUG)

    async def live():
        found = {"password": PASSWORD, "wrong password": "wrong canary password"}
        stranger = Browser(ORIGIN, base_url)
        await stranger.sign_in(await stranger.get("/auth/oauth/signin"), "ada", found["wrong password"])
        made = (await client.register(token_endpoint_auth_method=None)).json
        found["client secret"] = made["client_secret"]
        found["registration token"] = made["registration_access_token"]
        page = await client.consent_page(browser, "ada", PASSWORD)
        found["sealed request"] = dict(page.form("decision").fields)["request"]
        found["code"] = answer(await browser.decide(page))["code"]
        assert (await client.redeem(found["code"], code_verifier="w" * 43)).status == 400
        assert (await client.redeem(found["code"])).status == 200
        found["verifier"] = client.verifier
        for number in range(3):
            found[f"access token {number}"] = client.tokens["access_token"]
            found[f"refresh token {number}"] = client.tokens["refresh_token"]
            assert (await client.initialize()).status == 200
            assert (await client.refresh()).status == 200
        found |= {f"cookie {name}": value for name, value in browser.cookies.items()}
        await client.token("/introspect", token=client.tokens["refresh_token"])
        await client.fetch("/mcp", "POST", None, Authorization=f"Bearer {client.tokens['access_token']}x")
        await client.token(client_secret=found["client secret"] + "x", grant_type="refresh_token")
        await client.redeem(found["code"])
        await client.token("/revoke", token=found["refresh token 0"])
        return found

    return io_loop.run_sync(live)


async def test_the_database_holds_hashes_only(secrets, database_file):
    files = sorted(database_file.parent.glob(database_file.name + "*"))
    assert database_file in files
    content = b"".join(file.read_bytes() for file in files)
    assert b"refresh_tokens" in content
    assert len(secrets) > 12
    for name, secret in secrets.items():
        assert secret.encode() not in content, name
        for part in secret.split("."):
            assert len(part) < 20 or part.encode() not in content, name
    for file in files:
        assert file.stat().st_mode & 0o777 == 0o600


async def test_the_keys_are_not_in_the_database(secrets, database_file):
    content = b"".join(file.read_bytes() for file in database_file.parent.glob(database_file.name + "*"))
    keys = sorted(database_file.parent.glob("*.key"))
    assert len(keys) >= 3
    for key in keys:
        assert key.read_bytes().strip() not in content
        assert key.stat().st_mode & 0o777 == 0o600


async def test_the_log_names_no_secret(secrets, caplog):
    lines = [
        f"{record.getMessage()} {getattr(record, 'fields', '')} {record.exc_text}"
        for record in caplog.get_records("setup")
    ]
    assert any("code_redeemed" in line for line in lines)
    assert any("grant_revoked" in line or "code_replayed" in line for line in lines)
    assert any(" /token " in line for line in lines)
    for name, secret in secrets.items():
        for line in lines:
            assert secret not in line, name
