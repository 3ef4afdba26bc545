"""Replacing the signing key: nobody notices, and what it has signed ends when it would have anyway."""

import stat

import jwt
import pytest

from mcpauth.errors import OperationError
from mcpauth.store.keys import KeyFiles
from tests.conftest import PASSWORD

ALGORITHMS = ["HS256", "RS256", "ES256", "EdDSA"]
MARGIN = 60


@pytest.fixture(params=ALGORITHMS)
def algorithm(request):
    return request.param


@pytest.fixture
def environment(environment, algorithm):
    return {**environment, "MCP_OAUTH_JWT_ALGORITHM": algorithm}


@pytest.fixture
def connected(io_loop, client, browser, owner):
    io_loop.run_sync(lambda: client.connect(browser, "ada", PASSWORD))
    return client


async def rotate(services):
    return await services.operations.run("rotate-keys", {})


async def kids(client):
    return [one["kid"] for one in (await client.fetch("/jwks")).json["keys"]]


def kid_of(token):
    return jwt.get_unverified_header(token)["kid"]


async def test_nobody_notices(connected, services, ambient, restart, algorithm):
    """An access token from before is good to its end, over restarts; what comes after is signed with the new key."""
    before = connected.tokens["access_token"]
    published = await kids(connected)
    told = await rotate(services)
    assert (told["algorithm"], told["previous_until"]) == (algorithm, "2027-01-15T09:01:00Z")
    assert kid_of(before) != told["kid"]
    assert (await connected.initialize()).status == 200
    services = await restart()
    assert (await connected.initialize()).status == 200
    assert await kids(connected) == ([] if algorithm == "HS256" else [told["kid"], *published])
    assert (await connected.refresh()).status == 200
    after = connected.tokens["access_token"]
    assert kid_of(after) == told["kid"]
    ambient.time += 3599
    connected.tokens["access_token"] = before
    assert (await connected.initialize()).status == 200
    ambient.time += 1
    assert (await connected.initialize()).status == 401
    assert (await connected.refresh()).status == 200
    assert (await connected.initialize()).status == 200


async def test_the_old_key_goes_when_its_time_is_up(connected, services, ambient, restart, algorithm):
    old = services.signing_keys.current
    claims = jwt.decode(connected.tokens["access_token"], options={"verify_signature": False})
    # Nor with what it has made before, and used.
    connected.tokens["access_token"] = old.sign({**claims, "exp": ambient.time + 3600 + MARGIN + 1})
    assert (await connected.initialize()).status == 200
    told = await rotate(services)
    files = services.settings.data_dir.glob("*.[0-9]*.key")
    assert [(stat.S_IMODE(path.stat().st_mode), len(path.name.split("."))) for path in files] == [(0o600, 3)]
    # Who has a copy of it can make nothing with it that lasts longer than what it has made itself.
    assert (await connected.initialize()).status == 401
    connected.tokens["access_token"] = old.sign({**claims, "exp": ambient.time + 3600})
    assert (await connected.initialize()).status == 200
    ambient.time += 3600 + MARGIN
    connected.tokens["access_token"] = old.sign({**claims, "exp": ambient.time + 1})
    assert (await connected.initialize()).status == 401
    assert await kids(connected) == ([] if algorithm == "HS256" else [told["kid"]])
    services.signing_keys.forget_replaced(ambient.now())
    assert not list(services.settings.data_dir.glob("*.[0-9]*.key"))
    await restart()
    assert (await connected.refresh()).status == 200
    assert (await connected.initialize()).status == 200


@pytest.mark.parametrize("algorithm", ["HS256"])
class TestWithSecrets:
    async def test_it_stays_as_long_as_the_longest_token_that_was_given_out(
        self, connected, services, ambient, browser
    ):
        await services.operations.run("client lifetime", {"client_id": connected.client_id, "lifetime": "14d"})
        await connected.connect(browser, "ada", PASSWORD)
        assert (await rotate(services))["previous_until"] == "2027-01-29T08:01:00Z"
        ambient.time += 14 * 86400 - 1
        services.signing_keys.forget_replaced(ambient.now())
        assert (await connected.initialize()).status == 200

    async def test_several_in_a_row_lose_none(self, connected, services, restart):
        made = [connected.tokens["access_token"]]
        for _ in range(3):
            await rotate(services)
            await connected.refresh()
            made.append(connected.tokens["access_token"])
        assert len(set(map(kid_of, made))) == 4
        await restart()
        for token in made:
            connected.tokens["access_token"] = token
            assert (await connected.initialize()).status == 200

    async def test_a_crash_between_the_two_files_changes_nothing(self, connected, services, ambient, restart):
        """The old key was put aside already, and the new one was not in its place."""
        data = services.settings.data_dir
        (data / f"jwt.{ambient.time + 3600}.key").write_bytes((data / "jwt.key").read_bytes())
        (data / ".jwt.key.new").write_bytes(b"half a k")
        services = await restart()
        assert (await connected.initialize()).status == 200
        await rotate(services)
        assert (await connected.initialize()).status == 200
        await restart()
        assert (await connected.initialize()).status == 200

    @pytest.mark.parametrize("name", ["jwt", f"jwt.{1_800_000_000 + 3600 + MARGIN}"])
    async def test_what_cannot_be_written_is_not_used(self, connected, services, restart, name):
        """Neither is a key that was not put aside thrown away."""
        key = services.signing_keys.current
        (services.settings.data_dir / f".{name}.key.new").mkdir()
        with pytest.raises(OperationError, match="could not be written"):
            await rotate(services)
        assert services.signing_keys.current is key
        assert (await connected.initialize()).status == 200
        services = await restart()
        assert services.signing_keys.current.kid == key.kid
        assert (await connected.initialize()).status == 200

    async def test_files_of_other_names_are_left_alone(self, services, ambient):
        kept = [services.settings.data_dir / name for name in ("tls.1.key", "jwt.old.key")]
        for path in kept:
            path.write_text("the owner's")
        KeyFiles(services.settings.data_dir, ambient).forget_replaced(ambient.now())
        assert all(path.exists() for path in kept)


@pytest.mark.parametrize("algorithm", ["HS256"])
class TestOwnSecret:
    @pytest.fixture
    def environment(self, environment):
        return {**environment, "MCP_OAUTH_JWT_SECRET": "a secret of the owner's, of 32 bytes or more"}

    async def test_the_owner_is_told_what_to_do(self, connected, services):
        with pytest.raises(OperationError, match="put another secret there, and restart"):
            await rotate(services)
        assert (await connected.initialize()).status == 200


async def test_a_thief_of_all_key_files_has_nothing_once_they_are_gone(connected, services, browser, ambient, restart):
    """What README says to do: a server that finds no keys makes others, and everybody signs in anew."""
    stolen, refresh = services.signing_keys.current, connected.tokens["refresh_token"]
    claims = jwt.decode(connected.tokens["access_token"], options={"verify_signature": False})
    data_dir = services.settings.data_dir
    keys = {path: path.read_bytes() for path in data_dir.glob("*.key")}
    await services.operations.run("session end", {"everything": True})
    for path in keys:
        path.unlink()
    await restart()
    made = {path: path.read_bytes() for path in data_dir.glob("*.key")}
    assert made.keys() == keys.keys()
    assert not set(made.values()) & set(keys.values())
    assert (await connected.initialize()).status == 401
    assert (await connected.refresh()).error == "invalid_grant"
    page = await browser.get(connected.authorization_url())
    assert page.form("password")
    await connected.connect(browser, "ada", PASSWORD)
    assert (await connected.initialize()).status == 200
    now = jwt.decode(connected.tokens["access_token"], options={"verify_signature": False})
    connected.tokens = {"access_token": stolen.sign({**claims, **now}), "refresh_token": refresh}
    assert (await connected.initialize()).status == 401
    assert (await connected.refresh()).error == "invalid_grant"
