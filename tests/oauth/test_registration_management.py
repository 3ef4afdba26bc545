"""Clients manage their registrations: RFC 7592."""

import pytest

from tests.conftest import ORIGIN, PASSWORD


def path_of(client):
    return client.registration["registration_client_uri"].removeprefix(ORIGIN)


def token_of(client):
    return {"Authorization": f"Bearer {client.registration['registration_access_token']}"}


def own(client):
    """What a client sends back when it wants to change something."""
    made = ("client_id_issued_at", "client_secret_expires_at", "registration_access_token", "registration_client_uri")
    return {name: value for name, value in client.registration.items() if name not in made}


@pytest.fixture
def confidential(io_loop, client):
    async def register():
        await client.register(token_endpoint_auth_method="client_secret_post", scope="mcp")
        return client

    return io_loop.run_sync(register)


async def test_the_address_is_the_issuers_own(client, at):
    made = (await client.register(at.register)).json
    assert made["registration_client_uri"] == f"{ORIGIN}{at.register}/{made['client_id']}"
    assert len(made["registration_access_token"]) >= 43


async def test_a_registration_can_be_read(client, at):
    made = (await client.register(at.register, token_endpoint_auth_method=None)).json
    reply = await client.fetch(path_of(client), **token_of(client))
    assert reply.status == 200
    assert reply.headers["Cache-Control"] == "no-store"
    assert {**made, **reply.json} == made
    # The secret is kept as a hash; everything else comes again (RFC 7592 §3).
    assert set(made) - set(reply.json) == {"client_secret"}


async def test_a_registration_is_managed_at_either_issuer(confidential):
    for path in ("/register", "/.well-known/oauth-registration/mcp", "/.well-known/oauth-registration"):
        reply = await confidential.fetch(f"{path}/{confidential.client_id}", **token_of(confidential))
        assert reply.status == 200
        assert reply.json["client_id"] == confidential.client_id


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_nobody_else_may(confidential, other, method):
    await other.register()
    path = path_of(confidential)
    body = own(confidential) if method == "PUT" else None
    secret = {"Authorization": f"Bearer {confidential.client_secret}"}
    raw = {"Authorization": confidential.registration["registration_access_token"]}
    for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer x"}, secret, raw, token_of(other)):
        reply = await confidential.fetch(path, method, body, **headers)
        assert reply.status == 401
        assert reply.error == "invalid_token"
        assert reply.headers["WWW-Authenticate"].startswith("Bearer")
    # One that is not there looks the same.
    unknown = path.rsplit("/", 1)[0] + "/mcp_client_1_x"
    reply = await confidential.fetch(unknown, method, body, **token_of(confidential))
    assert (reply.status, reply.error) == (401, "invalid_token")
    assert (await confidential.fetch(path, **token_of(confidential))).status == 200


async def test_what_is_put_replaces_everything(confidential, browser):
    given = {**own(confidential), "redirect_uris": ["https://b.example/cb"]}
    del given["scope"]
    reply = await confidential.fetch(path_of(confidential), "PUT", given, **token_of(confidential))
    assert reply.status == 200
    assert reply.json["redirect_uris"] == ["https://b.example/cb"]
    assert "scope" not in reply.json
    assert (await browser.request(confidential.authorization_url())).status == 400
    moved = confidential.authorization_url(redirect_uri="https://b.example/cb")
    assert (await browser.request(moved)).status == 302


async def test_an_address_that_was_taken_back_gets_no_code(confidential, browser, owner):
    page = await confidential.consent_page(browser, "ada", PASSWORD)
    given = {**own(confidential), "redirect_uris": ["https://b.example/cb"]}
    await confidential.fetch(path_of(confidential), "PUT", given, **token_of(confidential))
    page = await browser.decide(page)
    assert page.status == 400
    assert not page.location


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"client_id": None}, "invalid_request"),
        ({"client_id": "mcp_client_1_another"}, "invalid_request"),
        ({"client_secret": "another"}, "invalid_request"),
        ({"redirect_uris": ["javascript:alert(1)"]}, "invalid_redirect_uri"),
        ({"redirect_uris": []}, "invalid_redirect_uri"),
        ({"token_endpoint_auth_method": "private_key_jwt"}, "invalid_client_metadata"),
    ],
)
async def test_a_bad_put_is_refused_and_changes_nothing(confidential, change, error):
    given = {name: value for name, value in {**own(confidential), **change}.items() if value is not None}
    reply = await confidential.fetch(path_of(confidential), "PUT", given, **token_of(confidential))
    assert reply.status == 400
    assert reply.error == error
    now = (await confidential.fetch(path_of(confidential), **token_of(confidential))).json
    assert now["redirect_uris"] == confidential.registration["redirect_uris"]


async def test_the_secret_stays_unless_the_method_changes(confidential, browser, owner):
    await confidential.connect(browser, "ada", PASSWORD)
    path, secret = path_of(confidential), confidential.client_secret
    kept = {**own(confidential), "client_name": "Renamed"}
    assert "client_secret" not in (await confidential.fetch(path, "PUT", kept, **token_of(confidential))).json
    assert (await confidential.refresh()).status == 200
    public = {**kept, "token_endpoint_auth_method": "none"}
    assert (await confidential.fetch(path, "PUT", public, **token_of(confidential))).status == 200
    del kept["client_secret"]
    made = (await confidential.fetch(path, "PUT", kept, **token_of(confidential))).json
    assert made["client_secret"] != secret
    assert (await confidential.refresh()).status == 401
    confidential.client_secret = made["client_secret"]
    assert (await confidential.refresh()).status == 200


async def test_removal_ends_everything_that_came_from_it(confidential, browser, owner):
    await confidential.connect(browser, "ada", PASSWORD)
    code = await confidential.code(browser, "ada", PASSWORD)
    reply = await confidential.fetch(path_of(confidential), "DELETE", **token_of(confidential))
    assert (reply.status, reply.body) == (204, b"")
    assert (await confidential.initialize()).status == 401
    for reply in (await confidential.refresh(), await confidential.redeem(code)):
        assert (reply.status, reply.error) == (401, "invalid_client")
    assert (await confidential.fetch(path_of(confidential), **token_of(confidential))).status == 401
    assert (await browser.request(confidential.authorization_url())).status == 400


async def test_a_paused_client_changes_and_erases_nothing(confidential, services):
    about, path, token = {"client_id": confidential.client_id}, path_of(confidential), token_of(confidential)
    await services.operations.run("client pause", about)
    for method, body in (("PUT", {**own(confidential), "client_name": "Other"}), ("DELETE", None), ("GET", None)):
        refused = await confidential.fetch(path, method, body, **token)
        assert (refused.status, refused.error) == (503, "temporarily_unavailable")
    # Who is not that client does not learn of it.
    stranger = await confidential.fetch(path, "DELETE", Authorization="Bearer none")
    assert stranger.status == 401
    await services.operations.run("client resume", about)
    assert (await confidential.fetch(path, **token)).json["client_name"] == confidential.registration["client_name"]
    assert (await confidential.fetch(path, "DELETE", **token)).status == 204
