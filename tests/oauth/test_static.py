"""The style sheet, the script and the logos are behind the same door as everything else."""

import pytest

SHEET = "/static/mcpauth.css"


async def test_an_asset_may_be_kept_and_says_nothing_of_the_server(client):
    reply = await client.fetch(SHEET)
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "text/css"
    assert reply.headers["Cache-Control"].startswith("max-age=")
    assert int(reply.headers["Cache-Control"].removeprefix("max-age=")) > 0
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert "Server" not in reply.headers


async def test_an_asset_that_was_not_changed_is_not_sent_again(client):
    first = await client.fetch(SHEET)
    again = await client.fetch(SHEET, If_None_Match=first.headers["Etag"])
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize("path", [SHEET, "/favicon.ico", "/static/nothing.css"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_another_host_gets_no_asset(client, method, path):
    for headers in ({"Host": "evil.example"}, {"X_Forwarded_Host": "evil.example"}):
        reply = await client.fetch(path, method, **headers)
        assert reply.status == 421
        assert reply.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "path", ["/static/nothing.css", "/static/", "/static/../server.py", "/static/%2e%2e/setup.cfg"]
)
async def test_what_is_no_asset_is_a_404_of_ours(client, path):
    for accepted in ("*/*", "text/html"):
        reply = await client.fetch(path, Accept=accepted)
        assert reply.status in (403, 404)
        assert "Server" not in reply.headers
        assert b"Traceback" not in reply.body
        if reply.headers["Content-Type"].startswith("application/json"):
            assert reply.error in ("not_found", "access_denied")
        else:
            assert b"mcpauth" in reply.body


async def test_the_icon_that_browsers_ask_for_unprompted_is_there(client):
    reply = await client.fetch("/favicon.ico")
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "image/svg+xml"
