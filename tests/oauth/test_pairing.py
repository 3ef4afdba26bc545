"""REGISTRATION: open, known clients only, or those that the owner approved."""

import pytest

from mcpauth.errors import OperationError
from mcpauth.oauth import pairing
from tests.browser import Browser, Page
from tests.conftest import ORIGIN, PASSWORD
from tests.oauth_client import OAuthClient, answer

STRANGER = "https://app.stranger.example/cb"
CLAUDE = "https://claude.ai/api/mcp/auth_callback"


@pytest.fixture
def mode() -> str:
    return "approve"


@pytest.fixture
def environment(environment, mode):
    return {**environment, "MCP_OAUTH_REGISTRATION": mode}


@pytest.fixture
def member(io_loop, services, owner):
    """bob, who may sign in, but decides for himself alone."""

    async def add():
        hashed = await services.passwords.hash(PASSWORD)
        return await services.users.add("user-bob", "bob", "member", services.ambient.now(), password_hash=hashed)

    return io_loop.run_sync(add)


@pytest.fixture
def elsewhere(http_server, base_url) -> Browser:
    """The browser of somebody else."""
    return Browser(ORIGIN, base_url)


async def waits(client: OAuthClient, browser: Browser) -> Page:
    page = await client.consent_page(browser, "bob", PASSWORD)
    assert page.status == 403
    assert "Waiting for the owner" in page.text
    assert not [form for form in page.forms if any(name == "decision" for name, _ in form.buttons)]
    return page


@pytest.mark.parametrize("mode", ["known"])
async def test_known_takes_known_clients_and_says_so_to_others(client, browser, owner, services):
    refused = await client.register(redirect_uris=[STRANGER])
    assert (refused.status, refused.error) == (400, "invalid_redirect_uri")
    assert "known clients only" in refused.json["error_description"]
    assert (await client.register(redirect_uris=[STRANGER, CLAUDE])).status == 201
    # The one that is known is let through, the other one is not.
    assert (await client.consent_page(browser, "ada", PASSWORD, redirect_uri=CLAUDE)).status == 200
    page = await browser.get(client.authorization_url(redirect_uri=STRANGER))
    assert page.status == 403
    assert "This server takes known apps only" in page.text
    assert f"client approve {client.client_id}" in page.text
    answer = await client.fetch(client.authorization_url(redirect_uri=STRANGER))
    assert (answer.status, answer.error) == (403, "access_denied")
    # What the owner can do.
    await services.operations.run("client approve", {"client_id": client.client_id})
    assert (await client.consent_page(browser, "ada", PASSWORD, redirect_uri=STRANGER)).status == 200


@pytest.mark.parametrize("mode", ["known"])
async def test_known_cannot_be_got_round_by_a_later_change(client, browser, owner):
    assert (await client.register(redirect_uris=[CLAUDE])).status == 201
    changed = await client.fetch(
        client.registration["registration_client_uri"].removeprefix(ORIGIN),
        "PUT",
        {"client_id": client.client_id, "redirect_uris": [STRANGER]},
        Authorization=f"Bearer {client.registration['registration_access_token']}",
    )
    assert (changed.status, changed.error) == (400, "invalid_redirect_uri")


@pytest.mark.parametrize("mode", ["known"])
@pytest.mark.parametrize("uri", ["http://localhost:3118/callback", "cursor://anysphere.cursor-mcp/oauth/callback"])
async def test_known_programs_on_the_persons_computer_are_let_through(client, browser, owner, uri):
    assert (await client.register(redirect_uris=[uri])).status == 201
    assert (await client.consent_page(browser, "ada", PASSWORD)).status == 200


@pytest.mark.parametrize("mode", ["known"])
async def test_a_name_or_a_user_agent_makes_nobody_known(client, owner):
    given = {"client_name": "Claude", "software_id": "claude", "redirect_uris": [STRANGER]}
    reply = await client.fetch("/register", "POST", given, User_Agent="Claude-User")
    assert reply.error == "invalid_redirect_uri"


async def test_a_client_waits_until_the_owner_says_yes_and_loses_nothing(
    client, browser, elsewhere, member, services, ambient
):
    assert (await client.register(client_name="New App", redirect_uris=[STRANGER])).status == 201
    page = await waits(client, elsewhere)
    assert "New App" in page.text
    ambient.time += 600
    assert (await elsewhere.get(page.url)).status == 403
    waiting = (await services.operations.run("status", {}))["waiting"]
    assert [(one["client_id"], one["name"], one["hosts"], one["asked_by"]) for one in waiting] == [
        (client.client_id, "New App", "app.stranger.example", "bob")
    ]
    story = (await services.operations.trace_list())[-1]
    assert (story["state"], story["verdict"]) == ("waiting", "waiting for the owner's approval of the app")
    home = await browser.sign_in(await browser.get("/auth/oauth/signin"), "ada", PASSWORD)
    assert f"client approve {client.client_id}" in home.text
    assert f"client approve {client.client_id}" not in (await elsewhere.get("/")).text

    done = await services.operations.run("client approve", {"client_id": client.client_id})
    assert done["client_id"] == client.client_id
    page = await elsewhere.get(page.url)
    assert "New App wants to connect" in page.text
    assert (await services.operations.trace_list())[-1]["verdict"] == "waiting for consent"
    reply = await client.redeem(answer(await elsewhere.decide(page))["code"])
    assert reply.status == 200
    assert (await services.operations.run("status", {}))["waiting"] == []
    assert "client approve" not in (await browser.get("/")).text


async def test_what_is_approved_is_what_was_registered_then(client, elsewhere, member, services):
    await client.register(redirect_uris=[STRANGER])
    await services.operations.run("client approve", {"client_id": client.client_id})
    assert (await client.consent_page(elsewhere, "bob", PASSWORD)).status == 200
    await client.fetch(
        client.registration["registration_client_uri"].removeprefix(ORIGIN),
        "PUT",
        {"client_id": client.client_id, "redirect_uris": ["https://other.example/cb"]},
        Authorization=f"Bearer {client.registration['registration_access_token']}",
    )
    client.redirect_uri = "https://other.example/cb"
    await waits(client, elsewhere)


async def test_a_refused_client_gets_no_further_in_any_mode(client, browser, elsewhere, member, services):
    await client.register()
    await waits(client, elsewhere)
    await services.operations.run("client refuse", {"client_id": client.client_id})
    for person in (browser, elsewhere):
        page = await person.get(client.authorization_url())
        assert page.status == 403
        assert "The owner of this server has refused it" in page.text
    assert (await services.operations.run("status", {}))["waiting"] == []


@pytest.mark.parametrize("mode", ["open"])
async def test_refusing_a_connected_client_ends_what_it_has(client, browser, owner, services):
    await client.connect(browser, "ada", PASSWORD)
    await services.operations.run("client refuse", {"client_id": client.client_id})
    assert (await client.initialize()).status == 401
    assert (await client.refresh()).error == "invalid_grant"


async def test_the_owner_is_asked_in_the_consent_page_and_says_yes_for_all(client, browser, elsewhere, member):
    await client.register(redirect_uris=[STRANGER])
    page = await client.consent_page(browser, "ada", PASSWORD)
    assert "You have not let this app in before" in page.text
    answer(await browser.decide(page))
    page = await client.consent_page(browser, "ada", PASSWORD)
    assert "You have not let this app in before" not in page.text
    assert (await client.consent_page(elsewhere, "bob", PASSWORD)).status == 200


@pytest.mark.parametrize(
    "uris",
    [
        [CLAUDE],
        ["https://vscode.dev/redirect", "http://127.0.0.1:33418/"],
        ["https://www.cursor.com/agents/mcp/oauth/callback", "cursor://anysphere.cursor-mcp/oauth/callback"],
    ],
)
async def test_who_is_known_for_certain_does_not_wait(client, elsewhere, member, uris):
    await client.register(client_name="Some name", redirect_uris=uris)
    page = await client.consent_page(elsewhere, "bob", PASSWORD)
    assert page.status == 200
    assert (await client.redeem(answer(await elsewhere.decide(page))["code"])).status == 200


@pytest.mark.parametrize(
    "uris",
    [[CLAUDE, STRANGER], ["http://localhost:3118/callback"], [CLAUDE, "https://vscode.dev/redirect"], [STRANGER]],
)
async def test_who_could_be_somebody_else_waits_whichever_address_is_used(client, elsewhere, member, uris):
    """Let in by way of a known address, it would come back by the other one."""
    await client.register(client_name="Claude", redirect_uris=uris)
    for uri in uris:
        client.redirect_uri = uri
        await waits(client, elsewhere)


async def test_no_means_no(client, browser, elsewhere, member):
    await client.register(redirect_uris=[STRANGER])
    await browser.decide(await client.consent_page(browser, "ada", PASSWORD), "deny")
    await waits(client, elsewhere)


async def test_a_form_cannot_go_round_the_owner(client, elsewhere, member, services):
    """A page from before the client was refused is not good any more."""
    await client.register(redirect_uris=[STRANGER])
    await services.operations.run("client approve", {"client_id": client.client_id})
    page = await client.consent_page(elsewhere, "bob", PASSWORD)
    await services.operations.run("client refuse", {"client_id": client.client_id})
    assert (await elsewhere.decide(page)).status == 403


async def test_those_that_wait_are_bounded_and_go_away(client, elsewhere, member, services, rows, ambient):
    for number in range(pairing.MOST_WAITING):
        # Others, who are gone since.
        await services.client_approvals.ask(f"c{number}", "x", "", None, ambient.now(), pairing.MOST_WAITING, 1)
    await client.register()
    page = await client.consent_page(elsewhere, "bob", PASSWORD)
    assert page.status == 403
    assert "Too many apps are waiting" in page.text
    assert (await services.operations.trace_list())[-1]["verdict"] == "too many apps wait for the owner"
    assert rows()["client_approvals"] == pairing.MOST_WAITING
    ambient.time += 31 * 86400
    await services.sweep.run(ambient.now())
    assert rows()["client_approvals"] == 0


async def test_one_person_cannot_take_all_the_places(client, elsewhere, member, services, rows):
    for _ in range(pairing.MOST_OF_ONE):
        await client.register()
        await waits(client, elsewhere)
    await client.register()
    page = await client.consent_page(elsewhere, "bob", PASSWORD)
    assert "Too many apps are waiting" in page.text
    assert (await services.operations.trace_list())[-1]["verdict"] == "too many apps wait for the owner"
    assert rows()["client_approvals"] == pairing.MOST_OF_ONE


async def test_who_was_refused_is_remembered_for_as_long_as_it_can_come_back(services, owner, rows, ambient):
    for client_id in ("mcp_client_1_gone", "https://stranger.example/client.json"):
        await services.client_approvals.decide(client_id, "x", "refused", ambient.now())
    ambient.time += 91 * 86400
    await services.sweep.run(ambient.now())
    assert rows()["client_approvals"] == 1
    approval = await services.client_approvals.find("https://stranger.example/client.json")
    assert approval is not None
    assert approval.decision == "refused"


async def test_a_client_that_waits_is_not_pushed_out_by_new_registrations(client, elsewhere, member, services):
    await client.register()
    await waits(client, elsewhere)
    known = await services.clients.find(client.client_id)
    await services.clients.add(known.model_copy(update={"client_id": "newer"}), 0)
    assert await services.clients.find("newer") is None
    assert await services.clients.find(client.client_id) is not None


async def test_what_is_to_be_copied_does_nothing_else_in_a_shell(elsewhere, browser, member, services, ambient):
    client_id = "https://stranger.example/$(id>x);a"
    await services.client_approvals.ask(client_id, "x", "", "user-bob", ambient.now(), 100, 100)
    page = await browser.sign_in(await browser.get("/auth/oauth/signin"), "ada", PASSWORD)
    assert f"client approve '{client_id}'" in page.text


async def test_strangers_store_nothing(client, browser, owner, rows):
    await client.register()
    await browser.get(client.authorization_url())
    assert rows()["client_approvals"] == 0


async def test_an_unknown_client_cannot_be_approved_by_mistake(services, owner):
    with pytest.raises(OperationError, match="there is no client"):
        await services.operations.run("client approve", {"client_id": "mcp_client_1_x"})


@pytest.mark.parametrize("mode", ["open"])
async def test_whoever_was_connected_before_counts_as_approved(
    client, browser, elsewhere, member, environment, restart
):
    await client.connect(browser, "ada", PASSWORD)
    environment["MCP_OAUTH_REGISTRATION"] = "approve"
    await restart()
    assert (await client.consent_page(elsewhere, "bob", PASSWORD)).status == 200
    await client.register()
    await waits(client, elsewhere)
