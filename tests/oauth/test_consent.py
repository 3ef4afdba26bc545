"""The consent page: the only place where a code is made."""

import re
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.browser import Browser
from tests.conftest import ORIGIN, PASSWORD
from tests.oauth_client import answer

CURSOR = "cursor://anysphere.cursor-mcp/oauth/callback"
CODES = ("authorization_codes", "grants", "refresh_tokens")


def form_of(page, decision="allow", **changes):
    fields = {**dict(page.form("decision").fields), "decision": decision, **changes}
    return urlencode({name: value for name, value in fields.items() if value is not None})


@pytest.fixture
def asked(io_loop, client, browser, owner):
    """The consent page, in front of the owner."""

    async def ask():
        await client.register()
        return await client.consent_page(browser, "ada", PASSWORD)

    return io_loop.run_sync(ask)


async def test_the_page_says_who_asks_and_where_the_code_goes(client, browser, owner, at):
    uri = "https://app.stranger.example/cb"
    await client.register(redirect_uris=[uri], client_name="Nice <b>App</b>")
    page = await client.consent_page(browser, "ada", PASSWORD, path=at.authorize, scope="mcp user:email")
    assert page.status == 200
    assert "Nice <b>App</b> wants to connect" in page.text
    assert "<b>App" not in page.body
    for fact in ("app.stranger.example", uri, client.client_id, "mcp", "user:email", "files", "read_file", "ada"):
        assert fact in page.text
    assert "It registered itself. Nobody has checked the name that it gives." in page.text
    assert {value for name, value in page.form("decision").buttons if name == "decision"} == {"allow", "deny"}


@pytest.mark.parametrize(
    ("scope", "shown"),
    [
        ("mcp mcp:read user:email", ["mcp", "user:email"]),
        ("mcp:read mcp mcp:files", ["mcp"]),
        ("mcp:read user:email", ["mcp:read", "user:email"]),
        ("mcp:read mcp:files", ["mcp:read", "mcp:files"]),
    ],
)
async def test_what_another_scope_implies_is_not_shown_beside_it(client, browser, owner, scope, shown):
    await client.register()
    page = await client.consent_page(browser, "ada", PASSWORD, scope=scope)
    section = page.body.split('class="scopes"')[1].split("</section>")[0]
    assert re.findall(r"<code>(\S+)</code>", section) == shown


async def test_a_program_on_this_computer_is_warned_of(asked):
    assert "127.0.0.1" in asked.text
    assert "Any app there can call itself that" in asked.text


async def test_a_name_cannot_disguise_itself(client, browser, owner):
    reply = await client.register(client_name="x" * 150)
    assert reply.status == 201
    page = await client.consent_page(browser, "ada", PASSWORD)
    assert "x" * 81 not in page.text
    reply = await client.register(client_name="A\u202egnihton")
    assert (reply.status, reply.error) == (400, "invalid_client_metadata")


async def test_the_page_cannot_be_framed_and_does_not_hold_the_redirect_back(asked):
    policy = asked.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "default-src 'none'" in policy
    assert "form-action" not in policy
    assert asked.headers["X-Frame-Options"] == "DENY"
    assert asked.headers["Cache-Control"] == "no-store"
    assert asked.headers["Referrer-Policy"] == "no-referrer"


async def test_allow_is_a_303_with_the_code(client, browser, asked, at):
    page = await client.consent_page(browser, "ada", PASSWORD, path=at.authorize)
    page = await browser.decide(page)
    assert page.status == 303
    assert page.location.startswith(client.redirect_uri + "?")
    sent = answer(page)
    assert set(sent) == {"code", "state", "iss"}
    assert (sent["state"], sent["iss"]) == (client.state, ORIGIN + at.issuer)


async def test_a_query_that_was_registered_stays(client, browser, owner):
    await client.register(redirect_uris=["https://a.example/cb?tenant=7"])
    page = await browser.decide(await client.consent_page(browser, "ada", PASSWORD))
    assert page.location.startswith("https://a.example/cb?tenant=7&code=")


async def test_deny_says_so_to_the_client_and_leaves_nothing(client, browser, asked, at, rows):
    page = await client.consent_page(browser, "ada", PASSWORD, path=at.authorize)
    page = await browser.decide(page, "deny")
    assert page.status == 303
    sent = answer(page)
    assert sent.pop("error_description")
    assert sent == {"error": "access_denied", "state": client.state, "iss": ORIGIN + at.issuer}
    assert [rows()[name] for name in CODES] == [0, 0, 0]


@pytest.mark.parametrize("second", ["allow", "deny"])
@pytest.mark.parametrize("first", ["allow", "deny"])
async def test_a_request_is_answered_once(browser, asked, rows, first, second):
    assert (await browser.decide(asked, first)).status == 303
    before = [rows()[name] for name in CODES]
    again = await browser.decide(asked, second)
    assert again.status == 409
    assert not again.location
    assert [rows()[name] for name in CODES] == before


async def test_only_the_post_makes_a_code(client, browser, asked, rows):
    for url in (asked.url, f"{asked.url}&decision=allow", client.authorization_url()):
        for method in ("GET", "HEAD"):
            page = await browser.request(url, method)
            assert not page.location.startswith(client.redirect_uri)
    assert rows()["grants"] == 0
    assert (await browser.request("/auth/oauth/consent", "PUT", form_of(asked))).status in (403, 405)
    assert rows()["grants"] == 0


async def test_a_post_without_the_right_token_is_refused(browser, asked, rows):
    for xsrf in [None, "", "wrong", "2|00000000|00000000000000000000000000000000|1800000000"]:
        page = await browser.request("/auth/oauth/consent", "POST", form_of(asked, _xsrf=xsrf))
        assert page.status == 403
        assert not page.location
        assert "access_denied" in page.text
        page = await browser.request("/auth/oauth/consent", "POST", form_of(asked, _xsrf=xsrf), Accept="*/*")
        assert (page.status, page.json["error"]) == (403, "access_denied")
        assert rows()["grants"] == 0


async def test_a_browser_that_lost_its_cookies_starts_again_where_it_was(browser, asked, rows):
    """As the web views of some apps do between a page and its form."""
    browser.cookies.clear()
    page = await browser.decide(asked)
    assert page.status == 403
    assert "load it again" in page.text
    assert rows()["grants"] == 0
    page = await browser.sign_in(await browser.get(asked.url), "ada", PASSWORD)
    assert answer(await browser.decide(page))["code"]


async def test_the_token_of_another_browser_is_refused(browser, asked, base_url, rows):
    stranger = Browser(ORIGIN, base_url)
    theirs = dict((await stranger.get("/auth/oauth/signin")).form("password").fields)["_xsrf"]
    page = await browser.request("/auth/oauth/consent", "POST", form_of(asked, _xsrf=theirs))
    assert page.status == 403
    assert rows()["grants"] == 0


async def test_a_post_that_another_site_sent_is_refused(browser, asked, rows):
    for site in ["cross-site", "same-site"]:
        page = await browser.request("/auth/oauth/consent", "POST", form_of(asked), **{"Sec-Fetch-Site": site})
        assert page.status == 403
        assert not page.location
        assert rows()["grants"] == 0


async def test_anything_but_the_two_answers_is_refused(browser, asked, rows):
    for decision in ["", "yes", "ALLOW"]:
        page = await browser.request("/auth/oauth/consent", "POST", form_of(asked, decision))
        assert page.status == 400
        assert rows()["grants"] == 0


async def test_whoever_is_not_signed_in_is_asked_to(browser, asked, base_url, rows):
    stranger = Browser(ORIGIN, base_url)
    page = await stranger.request(asked.url)
    assert page.status == 302
    assert page.location.startswith("/auth/oauth/signin?request=")
    xsrf = dict((await stranger.get(page.location)).form("password").fields)["_xsrf"]
    page = await stranger.request("/auth/oauth/consent", "POST", form_of(asked, _xsrf=xsrf))
    assert page.status == 303
    assert page.location.startswith("/auth/oauth/signin?request=")
    assert rows()["grants"] == 0


async def test_a_member_who_is_pending_again_gets_neither_page_nor_code(
    client, browser, owner, services, ambient, rows
):
    hashed = await services.passwords.hash(PASSWORD)
    await services.users.add("user-bob", "bob", "member", ambient.time, password_hash=hashed)
    await client.connect(browser, "bob", PASSWORD)
    page = await client.consent_page(browser, "bob", PASSWORD)
    before = rows()["authorization_codes"]
    await services.users.set_role("user-bob", "pending", ambient.time)
    assert not (await browser.decide(page)).location.startswith(client.redirect_uri)
    assert (await client.initialize()).status == 401
    assert (await client.refresh()).error == "invalid_grant"
    page = await client.consent_page(browser, "bob", PASSWORD)
    assert page.status == 403
    assert "Waiting for approval" in page.text
    assert "decision" not in page.body
    assert rows()["authorization_codes"] == before


async def test_a_request_that_is_too_old_or_not_ours_is_refused(client, browser, asked, ambient):
    request = parse_qs(urlsplit(asked.url).query)["request"][0]
    forged = request[:-2] + ("AA" if request[-2:] != "AA" else "BB")
    for bad in ("", "x", forged, request[:50], request * 40):
        page = await browser.request(f"/auth/oauth/consent?request={bad}")
        assert page.status == 400
        page = await browser.request("/auth/oauth/consent", "POST", form_of(asked, request=bad))
        assert page.status == 400
        assert not page.location
    ambient.time += 3601
    page = await browser.decide(asked)
    assert page.status == 400
    assert "This request has expired" in page.text
    assert not page.location


async def test_a_private_scheme_is_left_through_a_page(client, browser, owner, at):
    await client.register(redirect_uris=[CURSOR])
    page = await client.consent_page(browser, "ada", PASSWORD, path=at.authorize)
    page = await browser.decide(page)
    assert page.status == 200
    assert "Location" not in page.headers
    assert f'href="{CURSOR}?code=' in page.body
    target = page.body.split('href="' + CURSOR)[1].split('"')[0].replace("&amp;", "&")
    sent = parse_qs(target[1:])
    assert (sent["state"], sent["iss"]) == ([client.state], [ORIGIN + at.issuer])
    assert (await client.redeem(sent["code"][0])).status == 200
    page = await browser.decide(await client.consent_page(browser, "ada", PASSWORD), "deny")
    assert page.status == 200
    assert f'href="{CURSOR}?error=access_denied&amp;' in page.body


async def test_what_is_remembered_makes_the_page_shorter_and_never_skips_it(client, browser, base_url, asked):
    assert "is already connected" not in asked.text
    await client.redeem(answer(await browser.decide(asked))["code"])
    page = await client.consent_page(browser, "ada", PASSWORD)
    assert page.status == 200
    assert "Test client is already connected; continue only if you started this just now" in page.text
    assert answer(await browser.decide(page))["code"]
    assert (await client.initialize()).status == 200


async def test_what_one_person_allowed_is_news_to_the_next(client, browser, base_url, owner, services, ambient):
    await client.connect(browser, "ada", PASSWORD)
    hashed = await services.passwords.hash(PASSWORD)
    await services.users.add("user-bob", "bob", "member", ambient.time, password_hash=hashed)
    page = await client.consent_page(Browser(ORIGIN, base_url), "bob", PASSWORD)
    assert "is already connected" not in page.text
    assert "Nobody has checked" in page.text


async def test_the_page_names_what_a_sixth_program_signs_out(client, browser, owner, ambient):
    for number in range(5):
        await client.register(client_name=f"Client number {number}")
        page = await client.consent_page(browser, "ada", PASSWORD)
        assert "will be signed out" not in page.text
        await client.redeem(answer(await browser.decide(page))["code"])
        ambient.time += 60
    await client.register(client_name="The sixth")
    page = await client.consent_page(browser, "ada", PASSWORD)
    assert "Client number 0, which was used least recently, will be signed out" in page.text
