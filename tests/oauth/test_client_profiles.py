"""The table of clients: who is certain, who only says so, and who says what is not so."""

import tomllib
import tracemalloc
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mcpauth.oauth import client_profiles
from tests.browser import Page
from tests.conftest import PASSWORD

STATIC = Path(__file__).parents[2] / "static"
CHATGPT = "https://chatgpt.com/connector/oauth/OUbdUMlL15Ct"
CURSOR = "cursor://anysphere.cursor-mcp/oauth/callback"
STRANGER = "https://app.stranger.example/cb"


def name_of(client_id: str, redirect_uri: str) -> str | None:
    profile = client_profiles.identify(client_id, redirect_uri)
    return profile.name if profile else None


@pytest.mark.parametrize(
    ("redirect_uri", "name"),
    [
        (CHATGPT, "ChatGPT"),
        ("https://chatgpt.com/connector_platform_oauth_redirect", "ChatGPT"),
        ("https://claude.ai/api/mcp/auth_callback", "Claude"),
        ("https://claude.com/api/mcp/auth_callback", "Claude"),
        ("https://insiders.vscode.dev/redirect", "VS Code"),
        (CURSOR, "Cursor"),
        ("https://grok.com/connectors-oauth-exchange-code/", "Grok"),
        ("https://callback.mistral.ai/v1/integrations_auth/oauth2_callback", "Mistral"),
        ("https://enterprise.perplexity.ai/rest/connections/oauth_callback", "Perplexity"),
        ("https://api.devin.ai/mcp/oauth/callback", "Devin"),
        ("https://antigravity.google/oauth-callback", "Antigravity"),
        ("https://oauth-redirect.googleusercontent.com/r/user_bound_custom-mcp-1f", "Gemini"),
        # Nothing is certain of an address that is only like one, or that anybody can have.
        ("https://claude.ai/api/mcp/auth_callback2", None),
        ("https://claude.ai.stranger.example/api/mcp/auth_callback", None),
        ("https://chatgpt.com/share/1", None),
        ("https://chat.openai.com/oauth/callback", "ChatGPT"),
        # A name in the path stands for itself, and not for a way to elsewhere.
        ("https://chat.openai.com/any/thing?u=https://stranger.example", None),
        ("https://chatgpt.com/connector/oauth/", None),
        ("https://chatgpt.com/connector/oauth/a/b", None),
        ("https://chatgpt.com/connector/oauth/..%2f..%2fx", None),
        ("https://chatgpt.com/connector/oauth/..", None),
        ("https://chatgpt.com/connector/oauth/a?u=b", None),
        ("https://oauth-redirect.googleusercontent.com/r/user_bound_custom-mcp-1/../../x", None),
        # One address of a vendor's for whatever anybody makes there.
        ("https://global.consent.azure-apim.net/redirect/home", None),
        ("https://grok.com/connectors-oauth-exchange-code", None),
        ("https://oauth-redirect.googleusercontent.com/r/somebodys-project", None),
        ("http://localhost:3118/callback", None),
    ],
)
def test_a_redirect_uri_of_its_own_identifies_a_client(redirect_uri, name):
    assert name_of("mcp_client_1_a", redirect_uri) == name


@pytest.mark.parametrize(
    ("client_id", "name"),
    [
        ("https://chatgpt.com/oauth/client.json", "ChatGPT"),
        ("https://chatgpt.com/oauth/abc/client.json", "ChatGPT"),
        ("https://chatgpt.com/oauth/codex/abc/client.json", "Codex"),
        ("https://claude.ai/oauth/mcp-oauth-client-metadata", "Claude"),
        ("https://claude.ai/oauth/claude-code-client-metadata", "Claude Code"),
        ("https://nousresearch.github.io/hermes-agent/docs/oauth/client-metadata.json", "Hermes Agent"),
        ("https://nousresearch.github.io/something-else/client.json", None),
        ("https://chatgpt.com/oauth/codex/client.json", "Codex"),
        ("https://chatgpt.com/oauth/a/b/client.json", None),
        ("https://chatgpt.com/oauth/a/client.json?x", None),
        ("https://chatgpt.com/oauth/%2e%2e/client.json", None),
        ("https://stranger.example/oauth/client.json", None),
    ],
)
def test_the_address_of_its_document_identifies_a_client(client_id, name):
    assert name_of(client_id, "http://127.0.0.1:1455/callback") == name


@pytest.mark.parametrize(
    ("claimed", "redirect_uri", "posed_as"),
    [
        ("ChatGPT", STRANGER, "ChatGPT"),
        ("My chat-gpt App", STRANGER, "ChatGPT"),
        ("\u0421hatG\u0420T", STRANGER, "ChatGPT"),
        ("Chat\u200bGPT", STRANGER, "ChatGPT"),
        ("C1aude", STRANGER, "Claude"),
        ("Claude Code (home)", STRANGER, "Claude Code"),
        ("Claude", "http://localhost:3118/callback", "Claude"),
        ("Zed", STRANGER, "Zed"),
        # Somebody else's name is only what a person would take for it.
        ("An authorized app", STRANGER, None),
        ("Nice App", STRANGER, None),
        # Where these listen anybody can listen; and that one runs anywhere.
        ("Claude Code (home)", "http://localhost:3118/callback", None),
        ("Visual Studio Code", "http://127.0.0.1:33418/", None),
        ("Gemini CLI MCP Client", "http://localhost:7777/oauth/callback", None),
        ("LibreChat MCP Client", "https://chat.mine.example/api/mcp/home/oauth/callback", None),
    ],
)
def test_a_name_that_is_somebody_elses_is_noticed(claimed, redirect_uri, posed_as):
    loopback = redirect_uri.startswith("http:")
    found = client_profiles.posed_as(claimed, redirect_uri, loopback=loopback)
    assert (found.name if found else None) == posed_as


def test_a_name_that_unfolds_costs_little():
    """This letter is four words once it is taken apart; whoever registers may have two hundred."""
    name = "\ufdfa".join(map(chr, range(0x100, 0x150)))
    tracemalloc.start()
    client_profiles.posed_as(name, STRANGER, loopback=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_user_agent_or_a_software_id_is_a_guess_and_no_more():
    guessed = client_profiles.guess(None, "openai-mcp/1.0.0")
    assert guessed is not None
    assert guessed.name == "ChatGPT"
    for software_id in client_profiles.guess("2e6dc280-f3c3-4e01-99a7-8181dbd1d23d", "").software_ids:
        assert name_of(software_id, STRANGER) is None
    assert client_profiles.guess(None, "curl/8") is None


@pytest.mark.parametrize("profile", client_profiles.every(), ids=lambda one: one.profile_id)
def test_every_client_has_a_logo_that_brings_nothing_in(profile):
    text = (STATIC / profile.logo).read_text()
    tags = {element.tag.split("}")[1] for element in ElementTree.fromstring(text).iter()}  # noqa: S314
    assert tags <= {"svg", "rect", "path", "circle", "g"}
    assert "href" not in text
    assert "style" not in text


async def asked(client, browser, **metadata) -> Page:
    assert (await client.register(**metadata)).status == 201
    return await client.consent_page(browser, "ada", PASSWORD)


# What each client is played with, beside what is certain of it. The SDKs are nobody's client.
PLAYED = {
    (path.stem, run["redirect_uri"]): run
    for path in sorted((Path(__file__).parents[1] / "clients").glob("*.toml"))
    for run in tomllib.loads(path.read_text())["runs"]
}
ANYBODYS = ("https://chat.example.com/", "https://global.consent.azure-apim.net/")


@pytest.mark.parametrize(("name", "redirect_uri"), PLAYED, ids=" ".join)
def test_every_client_that_is_played_is_known(name, redirect_uri):
    """Unless it has an address of somebody's own, or one for everybody: nothing tells it from a stranger's."""
    loopback = redirect_uri.startswith("http:")
    known = client_profiles.fits("", redirect_uri.replace("{callback_id}", "abcdefghijkl"), loopback=loopback)
    assert known != redirect_uri.startswith(ANYBODYS)


def logo_of(page: Page) -> str:
    return page.body.split('class="asker"')[1].split("/static/clients/")[1].split(".svg")[0]


async def test_who_is_certain_is_shown_by_name_and_logo_whatever_it_says(client, browser, owner):
    page = await asked(client, browser, client_name="Some name", redirect_uris=[CHATGPT])
    assert "ChatGPT wants to connect" in page.text
    assert logo_of(page) == "chatgpt"
    assert "Only ChatGPT gets what is sent to this address." in page.text
    assert "chatgpt.com" in page.text
    image = await client.fetch(page.body.split('class="asker"')[1].split('src="')[1].split('"')[0])
    assert (image.status, image.headers["Content-Type"]) == (200, "image/svg+xml")


async def test_who_only_calls_itself_so_is_not_shown_as_that(client, browser, owner):
    page = await browser.get("/")
    for redirect_uri, shown in ((STRANGER, "An app at app.stranger.example"), (None, "An app on this computer")):
        uris = [redirect_uri or "http://127.0.0.1:33418/callback"]
        assert (await client.register(client_name="ChatGPT", redirect_uris=uris)).status == 201
        browser.cookies.clear()
        page = await browser.get(client.authorization_url())
        assert f"to connect {shown} to" in page.text
        assert "ChatGPT" not in page.text
        page = await browser.sign_in(page, "ada", PASSWORD)
        assert f"{shown} wants to connect" in page.text
        assert "ChatGPT wants to connect" not in page.text
        assert "It calls itself \u201cChatGPT\u201d, but it is not ChatGPT" in page.text
        assert logo_of(page) == "program"


async def test_a_program_that_is_not_certain_keeps_its_name_and_gets_no_logo(client, browser, owner):
    page = await asked(client, browser, client_name="Claude Code (home)", redirect_uris=["http://localhost:1/callback"])
    assert "Claude Code (home) wants to connect" in page.text
    assert logo_of(page) == "program"


async def test_the_start_page_has_the_way_of_every_client_that_has_one(browser):
    page = await browser.get("/")
    for profile in client_profiles.every():
        assert (f"<span>{profile.name}</span>" in page.body) == bool(profile.guide)
    assert "codex mcp login home" in page.text
    assert "<b>Developer mode</b>" in page.body
    assert "<code>/mcp auth home</code>" in page.body
    assert "claude mcp add --transport http home https://host.example.ts.net/mcp" in page.text
    assert not [mark for mark in ("{url}", "$ ", "*") if mark in page.text.split("Which app do you use?")[1]]
