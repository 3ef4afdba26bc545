"""A client_id that is a URL: the client is what the document there says (SEP-991, AS20 to AS31)."""

import asyncio
import json

import pytest

from mcpauth.app import build_services
from mcpauth.errors import PageError
from mcpauth.models.documents import Copy
from mcpauth.oauth.issuer import issuers
from mcpauth.settings import Settings
from mcpauth.store.fetched_documents import FetchedDocumentStore
from tests.conftest import ORIGIN, PASSWORD
from tests.oauth_client import answer

CALLBACK = "http://127.0.0.1:4/callback"


async def begin(client, client_id, redirect_uri=CALLBACK, **changes):
    """The answer to an authorization request of a program that reads no HTML."""
    return await client.fetch(client.authorization_url(client_id=client_id, redirect_uri=redirect_uri, **changes))


async def test_a_published_client_connects_and_stays(client, host, connect, restart):
    assert (await connect(host.publish())).status == 200
    assert (await client.call("tools/list")).status == 200
    for _ in range(2):
        assert (await client.refresh()).status == 200
    assert sum(host.requests.values()) == 1
    assert host.seen[0]["Accept"] == "application/json"
    assert not {"Cookie", "Authorization"} & host.seen[0].keys()
    # Neither the document nor the connection is lost by a restart, nor by the host's end.
    await restart()
    await host.stop()
    assert (await client.refresh()).status == 200
    assert (await client.call("tools/list")).status == 200


async def test_the_consent_page_names_the_host_that_speaks_for_the_client(client, host, browser, owner):
    client.client_id = host.publish(client_name="Neat tool")
    for connected in (False, True):
        page = await client.consent_page(browser, "ada", PASSWORD)
        assert "Neat tool" in page.text
        assert f"127.0.0.1:{host.port} publishes its name" in page.text
        assert ("You connected it before." in page.text) == connected
        assert "registered itself" not in page.text
        await client.redeem(answer(await browser.decide(page))["code"])


async def test_looking_is_free_of_effects_but_for_the_copy(client, host, rows):
    client_id = host.publish()
    before = rows()
    for _ in range(3):
        assert (await begin(client, client_id)).status == 302
    assert {**rows(), "fetched_documents": 0} == before
    assert sum(host.requests.values()) == 1


NO_GOOD = [
    ({"client_id": "http://127.0.0.1/other"}, "another client_id"),
    ({"client_id": None}, "another client_id"),
    ({"client_name": None}, "no client_name"),
    ({"redirect_uris": None}, "no redirect URI"),
    ({"redirect_uris": ["javascript:alert(1)", 7]}, "no redirect URI"),
    ({"client_secret": "s3cret"}, "client secret"),
    ({"token_endpoint_auth_method": "client_secret_post"}, "has no secret"),
    ({"token_endpoint_auth_methods_supported": ["none", "client_secret_basic"]}, "has no secret"),
    ({"token_endpoint_auth_method": "private_key_jwt"}, "private_key_jwt with keys"),
    ({"token_endpoint_auth_method": "tls_client_auth"}, "must allow none"),
    ({"grant_types": ["client_credentials"]}, "grant_types"),
    (
        {"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [{"kty": "RSA", "d": "AQAB"}]}},
        "not a public key",
    ),
]


async def test_a_document_that_is_no_good_makes_no_client_and_is_not_kept(client, host, ambient, rows):
    for changes, says in NO_GOOD:
        ambient.time += 61
        host.requests.clear()
        client_id = host.publish(**changes)
        for _ in range(2):
            reply = await begin(client, client_id)
            assert (reply.status, reply.error) == (400, "invalid_client"), changes
            assert says in reply.json["error_description"]
            assert "s3cret" not in reply.body.decode()
        assert sum(host.requests.values()) == 2
    assert rows()["fetched_documents"] == 0
    # Its owner mends it, and the next attempt works.
    assert (await begin(client, host.publish())).status == 302


NOT_PLAIN = [
    ({"status": 404}, "status 404"),
    ({"status": 500}, "status 500"),
    ({"status": 201}, "status 201"),
    ({"status": 302, "headers": {"Location": "/client.json", "Content-Type": "application/json"}}, "redirects"),
    ({"status": 307, "headers": {"Location": "/client.json", "Content-Type": "application/json"}}, "redirects"),
    ({"headers": {"Content-Type": "text/html"}}, "plain JSON"),
    ({"headers": {}}, "plain JSON"),
    ({"headers": {"Content-Type": "application/json", "Content-Encoding": "gzip"}}, "plain JSON"),
    ({"body": b"no json"}, "not JSON"),
    ({"body": b"[" * 60000}, "not JSON"),
    ({"body": b'{"client_id": "\xff"}'}, "not JSON"),
    ({"body": b"[]"}, "not a JSON object"),
    ({"body": b" " * (64 * 1024 + 1)}, "64 KiB"),
]


async def test_only_a_plain_200_with_a_little_json_counts(client, host, ambient):
    headers = host.headers
    for different, says in NOT_PLAIN:
        ambient.time += 61
        host.requests.clear()
        client_id = host.publish()
        host.status, host.headers = different.get("status", 200), different.get("headers", headers)
        host.documents["/client.json"] = different.get("body", host.documents["/client.json"])
        reply = await begin(client, client_id)
        assert (reply.status, reply.error) == (400, "invalid_client"), different
        assert says in reply.json["error_description"]
        assert sum(host.requests.values()) == 1


async def test_json_by_another_name_counts(client, host):
    for content_type in ("application/json; charset=utf-8", "application/cimd+json"):
        host.headers = {"Content-Type": content_type}
        assert (await begin(client, host.publish(f"/{content_type[12:16]}"))).status == 302


async def test_urls_that_no_client_has_are_not_fetched(client, host):
    host.publish()
    for tail in [
        "",
        "/",
        "/a/../client.json",
        "/a/%2e%2E/client.json",
        "/./client.json",
        "/client.json#x",
        "/" + "a" * 600,
    ]:
        reply = await begin(client, host.url + tail)
        assert (reply.status, reply.error) == (400, "invalid_client")
    reply = await begin(client, host.url.replace("//", "//user@") + "/client.json")
    assert (reply.status, reply.error) == (400, "invalid_client")
    assert not host.requests


async def test_ids_are_compared_as_they_are(client, host):
    client_id = host.publish()
    for other in (client_id.replace("http:", "HTTP:"), client_id + "?", client_id + "/", client_id.replace("c", "C")):
        assert (await begin(client, other)).status == 400


async def test_a_long_id_works_to_the_end(client, host, connect):
    client_id = host.publish("/" + "a" * 400 + "?v=1")
    host.documents["/" + "a" * 400] = host.documents.pop("/" + "a" * 400 + "?v=1")
    assert (await connect(client_id)).status == 200
    assert (await client.refresh()).status == 200
    assert (await client.call("tools/list")).status == 200


async def test_the_redirect_uri_is_one_of_the_document(client, host):
    client_id = host.publish(redirect_uris=["http://localhost/callback", "https://app.example/cb"])
    for uri in ("http://127.0.0.1:51001/callback", "http://localhost:3118/callback", "https://app.example/cb"):
        assert (await begin(client, client_id, uri)).status == 302
    for uri in (
        "https://app.example/cb/",
        "https://evil.example/cb",
        "http://127.0.0.1:1/other",
        "http://app.example/cb",
    ):
        reply = await begin(client, client_id, uri)
        assert reply.status == 400
        assert "Location" not in reply.headers


async def test_what_a_document_says_beyond_is_ignored(client, host, connect):
    client_id = host.publish(
        grant_types=["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:jwt-bearer"],
        redirect_uris=["myapp://nobody-knows", "http://127.0.0.1/callback"],
        token_endpoint_auth_signing_alg="PS512",
        something={"new": [1]},
        client_uri="javascript:alert(1)",
        logo_uri=f"{host.url}/logo.png",
    )
    assert (await connect(client_id)).status == 200
    assert set(host.requests) == {"/client.json"}


FRESH = [
    ({}, 3600),
    ({"Cache-Control": "max-age=600"}, 600),
    ({"Cache-Control": "public, max-age=600", "Age": "100"}, 500),
    ({"Cache-Control": "max-age=9999999"}, 86400),
    ({"Cache-Control": "max-age=0"}, 60),
    ({"Cache-Control": "no-cache"}, 60),
    ({"Cache-Control": "no-store"}, 60),
    ({"Cache-Control": 'max-age="nonsense"'}, 60),
    ({"Date": "Tue, 24 Nov 2026 10:00:00 GMT", "Expires": "Tue, 24 Nov 2026 10:10:00 GMT"}, 600),
    ({"Expires": "0"}, 60),
]


async def test_a_copy_is_fresh_as_long_as_its_headers_say(client, host, ambient):
    for number, (headers, fresh_for) in enumerate(FRESH):
        host.headers = {"Content-Type": "application/json", **headers}
        path = f"/{number}.json"
        client_id = host.publish(path)
        await begin(client, client_id)
        ambient.time += fresh_for - 1
        await begin(client, client_id)
        assert host.requests[path] == 1, headers
        ambient.time += 1
        await begin(client, client_id)
        assert host.requests[path] == 2, headers


async def test_no_store_keeps_it_off_the_disk(client, host, rows, restart):
    host.headers["Cache-Control"] = "no-store"
    client_id = host.publish()
    await begin(client, client_id)
    assert rows()["fetched_documents"] == 0
    await restart()
    await begin(client, client_id)
    assert sum(host.requests.values()) == 2


async def test_a_stale_copy_serves_while_its_host_is_away(client, host, ambient, restart):
    client_id = host.publish()
    await begin(client, client_id)
    for days in (1, 20):
        ambient.time += days * 86400
        host.status = 503
        assert (await begin(client, client_id)).status == 302
        host.status = 200
        host.documents["/client.json"] = {"client_id": "somebody else"}
        assert (await begin(client, client_id)).status == 302
        await restart()
        host.publish()
    # The host that failed was left alone for a minute, then it is asked again.
    ambient.time += 60
    asked = sum(host.requests.values())
    host.publish(redirect_uris=["http://127.0.0.1/moved"])
    assert (await begin(client, client_id)).status == 400
    assert sum(host.requests.values()) == asked + 1


async def test_many_who_ask_at_once_are_one_request(client, host):
    client_id = host.publish()
    host.held = asyncio.Event()
    asking = [asyncio.ensure_future(begin(client, client_id)) for _ in range(8)]
    await host.asked.wait()
    host.held.set()
    assert {reply.status for reply in await asyncio.gather(*asking)} == {302}
    assert sum(host.requests.values()) == 1


async def test_nobody_makes_us_flood_a_host(client, host, ambient):
    # One party alone comes to its own limit first.
    for number in range(20):
        assert (await begin(client, f"{host.url}/missing/{number}")).status == 400
    reply = await begin(client, f"{host.url}/missing/20")
    assert (reply.status, reply.error) == (429, "temporarily_unavailable")
    assert sum(host.requests.values()) == 20
    # Many parties come to the limit of the host.
    for number in range(20, 40):
        client.address = f"198.51.100.{number}"
        await begin(client, f"{host.url}/missing/{number}")
    assert sum(host.requests.values()) == 30
    ambient.time += 60
    assert (await begin(client, host.publish())).status == 302


async def test_the_token_endpoint_fetches_nothing_for_strangers(client, host):
    client.client_id = host.publish()
    for number in range(3):
        reply = await client.refresh(f"no such token {number}")
        assert (reply.status, reply.error) == (401, "invalid_client")
    assert not host.requests


async def test_a_stale_document_does_not_hold_up_the_token_endpoint(client, host, connect, ambient):
    await connect(host.publish())
    ambient.time += 3600
    host.held = asyncio.Event()
    host.asked.clear()
    assert (await client.refresh()).status == 200
    # The one that is on its way now counts from the next time on.
    await host.asked.wait()


async def test_strangers_documents_push_out_no_approved_one(
    client, host, connect, services, ambient, rows, monkeypatch
):
    monkeypatch.setattr("mcpauth.oauth.remote_documents.MOST_STORED", 3)
    approved = host.publish("/approved.json")
    await connect(approved)
    for number in range(5):
        ambient.time += 10
        await begin(client, host.publish(f"/stranger/{number}.json"))
    assert rows()["fetched_documents"] == 4
    ambient.time += 91 * 86400
    await services.sweep.run(ambient.now())
    assert rows()["fetched_documents"] == 0


async def test_keys_do_not_pile_up(services, rows):
    """An approved client may name another address for its keys each time."""
    keys = FetchedDocumentStore(services.database, "keys")
    for number in range(5):
        await keys.save(f"https://client.example/{number}", Copy("{}", number, number), 3)
    assert rows()["fetched_documents"] == 3
    assert await keys.find("https://client.example/4") is not None


async def test_our_own_address_and_others_beyond_this_computer_are_not_asked(client):
    for client_id in (
        "http://localhost:3210/auth/oauth/health",
        "https://metadata.google.internal/client.json",
        "https://10.0.0.1/client.json",
        "https://[fd00::1]/client.json",
        "http://192.0.2.1/client.json",
    ):
        assert (await begin(client, client_id)).status == 400


async def test_a_server_on_the_internet_fetches_from_there_alone(tmp_path, ambient):
    """As it is without the setting for tests: every client below is judged before anything is connected to."""
    asked = []

    async def resolve(name):
        asked.append(name)
        return ["127.0.0.1"]

    settings = {"MCP_OAUTH_PUBLIC_URL": ORIGIN, "MCP_OAUTH_DATA_DIR": str(tmp_path / "internet")}
    services = await build_services(Settings.from_env(settings), ambient, resolve=resolve)
    root = issuers(ORIGIN, "/auth/oauth")[0]

    async def refusal(client_id):
        with pytest.raises(PageError) as caught:
            await services.authorization.begin(root, {"client_id": [client_id]}, signed_in=True, party="p")
        return f"{caught.value.title}. {caught.value.hint}"

    assert "not on the public internet" in await refusal("https://vendor.example/client.json")
    assert "not on the public internet" in await refusal("https://127.0.0.1/client.json")
    assert "https" in await refusal("http://127.0.0.1/client.json")
    assert "own address" in await refusal(f"{ORIGIN}/client.json")
    assert asked == ["vendor.example"]
    # One that is shipped gets on: what is missing is the redirect URI.
    assert "redirect_uri" in await refusal("https://vscode.dev/oauth/client-metadata.json")
    await services.close()


async def test_the_same_client_on_two_devices_is_two_grants(client, other, host, connect, browser):
    """Signing one out leaves the other."""
    await connect(host.publish())
    other.client_id, other.redirect_uri = client.client_id, "http://localhost:5/callback"
    code = await other.code(browser, "ada", PASSWORD)
    assert (await other.redeem(code)).status == 200
    reply = await client.token("/revoke", token=client.tokens["refresh_token"])
    assert reply.status == 200
    assert (await client.refresh()).error == "invalid_grant"
    assert (await client.initialize()).status == 401
    assert (await other.initialize()).status == 200
    assert (await other.refresh()).status == 200


async def test_a_removed_client_is_gone_until_it_is_approved_again(client, host, connect, services):
    await connect(host.publish())
    listed = (await services.operations.run("client list", {}))[0]
    assert (listed["client_id"], listed["registered"]) == (client.client_id, "by its document")
    await services.operations.run("client remove", {"client_id": client.client_id})
    assert (await client.initialize()).status == 401
    assert (await client.refresh()).error == "invalid_client"
    assert (await connect(client.client_id)).status == 200


async def test_a_denied_client_leaves_nothing(client, host, browser, owner, rows):
    client.client_id = host.publish()
    page = await browser.decide(await client.consent_page(browser, "ada", PASSWORD), "deny")
    assert answer(page)["error"] == "access_denied"
    assert rows()["clients"] == 0


async def test_a_document_cannot_be_managed_as_a_registration(client, host, connect):
    await connect(host.publish())
    path = "/register/" + client.client_id.replace(":", "%3A").replace("/", "%2F")
    for method in ("GET", "PUT", "DELETE"):
        reply = await client.fetch(
            path, method, Authorization="Bearer x", body=json.dumps({}) if method == "PUT" else None
        )
        assert reply.status in (401, 404)
    assert (await client.refresh()).status == 200


async def test_ids_made_here_are_never_urls(client):
    for name in ("https://claude.ai/", "x"):
        reply = await client.register(client_name=name, client_id="https://claude.ai/oauth/x")
        assert reply.json["client_id"].startswith("mcp_client_")
