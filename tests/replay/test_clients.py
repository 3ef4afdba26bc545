"""Every client that is known, in each of its ways, from the first request to a refresh."""

import pytest

from mcpauth.replay.play import NAMES, Outcome, play
from mcpauth.replay.sequence import Client, Run, Send, load, names
from tests.replay.conftest import Server

CLIENTS = {name: load(name) for name in names()}
ALL = [(name, run) for name, client in CLIENTS.items() for run in client.runs if not run.document]
BOTH = [
    (name, client.runs[0].model_copy(update={"then": ()}))
    for name, client in CLIENTS.items()
    if "modern" in client.eras
]
# Who names no resource gets a token for all servers together.
OF_ONE_SERVER = [name for name, client in CLIENTS.items() if "modern" not in client.eras and name != "n8n"]


def by_name(value: object) -> str:
    return value.name if isinstance(value, Run) else str(value)


def problem(outcomes: list[Outcome]) -> str:
    """Of the step that failed; empty when the client got through."""
    return next((f"{one.step}: {one.note}. {one.fix}" for one in outcomes if not one.ok), "")


def check(client: Client, run: Run, outcomes: list[Outcome]) -> None:
    assert problem(outcomes) == ""
    assert len(outcomes) == len(client.going(run).steps) + len(run.then)


@pytest.mark.parametrize(("name", "run"), ALL, ids=by_name)
async def test_a_client_connects_at_the_first_try(server: Server, name: str, run: Run) -> None:
    attempt, outcomes = await server.replay(CLIENTS[name], run)
    check(CLIENTS[name], run, outcomes)
    assert attempt.by_document == bool(run.client_id)
    stories = await server.services.operations.run("trace list", {})
    assert "connected" in [story["state"] for story in stories if story["client_id"] == attempt.client_id]


@pytest.mark.parametrize("name", ["chatgpt", "claude"])
async def test_a_client_that_was_added_by_hand_connects(server: Server, name: str) -> None:
    """Both take an id and a secret in their advanced settings."""
    client, run = CLIENTS[name], next(run for run in CLIENTS[name].runs if not run.client_id)
    given = {"name": f"My {client.title}", "redirect_uris": [run.redirect_uri], "public": False}
    added = await server.services.operations.run("client add", given)
    async with server.attempt(client, run) as attempt:
        attempt.registration = added
        steps = tuple(step for step in client.steps if step.do != "register")
        attempt.client = client.model_copy(update={"steps": steps})
        outcomes = [outcome async for outcome in play(attempt)]
    assert problem(outcomes) == ""
    assert attempt.client_id == added["client_id"]


async def test_what_chatgpt_says_with_each_call_is_in_nobodys_way(server: Server) -> None:
    client = CLIENTS["chatgpt"]
    about = {"openai/session": "v1/session", "openai/subject": "v1/subject", "openai/userLocation": {"city": "Ulm"}}
    call = Send(do="send", method="tools/call", params={"name": "list_directory", "arguments": {}, "_meta": about})
    for era in client.eras:
        steps = (*client.steps[: [one.do for one in client.steps].index("begin") + 1], call)
        way = client.model_copy(update={"steps": steps, "eras": (era,)})
        attempt, outcomes = await server.replay(way, client.runs[0], "/mcp/files")
        assert problem(outcomes) == ""
        assert "hello.md" in str(attempt.result)


@pytest.mark.parametrize("name", CLIENTS)
async def test_every_address_where_a_client_looks_has_the_document(server: Server, name: str) -> None:
    """It may look at a later one first, where something in front hides the others."""
    client = CLIENTS[name]
    async with server.attempt(client, client.runs[0]) as attempt:
        async for outcome in play(attempt):
            if outcome.step == NAMES["server"]:
                break
        for step in client.steps:
            asked = [step.request[4:]] if step.do == "ask" and "GET {origin}" in step.request else []
            for url in getattr(step, "urls", asked):
                exchange = await attempt.wire.send("GET", attempt.fill(url), attempt.headers("oauth", step.headers))
                # OIDC's addresses have all that OIDC asks for, or nothing.
                if "openid-configuration" in url and exchange.status == 404:
                    continue
                assert exchange.status == 200, url
                if step.do == "resource":
                    assert exchange.json == attempt.resource
                else:
                    assert {"issuer", "authorization_endpoint", "token_endpoint"} <= exchange.json.keys()


@pytest.mark.parametrize("path", ["/mcp/files", "/mcp/old"])
@pytest.mark.parametrize("name", OF_ONE_SERVER)
async def test_a_client_of_the_older_era_connects_to_one_server_alone(server: Server, name: str, path: str) -> None:
    run = CLIENTS[name].runs[0].model_copy(update={"then": ()})
    _, outcomes = await server.replay(CLIENTS[name], run, path)
    check(CLIENTS[name], run, outcomes)


@pytest.mark.parametrize("name", ["sdk-typescript", "sdk-python"])
async def test_a_query_that_was_entered_with_the_url_is_kept_everywhere(server: Server, name: str) -> None:
    attempt, outcomes = await server.replay(CLIENTS[name], CLIENTS[name].runs[0], "/mcp?for=ada")
    assert problem(outcomes) == ""
    assert attempt.url.endswith("?for=ada")


# Whoever names no resource, as far as is known, gets a token for /mcp.
@pytest.mark.parametrize("name", [name for name in CLIENTS if name != "n8n"])
async def test_a_client_connects_to_one_server_alone(server: Server, name: str) -> None:
    run = CLIENTS[name].runs[0].model_copy(update={"then": ()})
    _, outcomes = await server.replay(CLIENTS[name], run, "/mcp/files")
    check(CLIENTS[name], run, outcomes)


@pytest.mark.parametrize("path", ["/mcp", "/mcp/files", "/mcp/old"])
@pytest.mark.parametrize("era", ["modern", "legacy"])
@pytest.mark.parametrize(("name", "run"), BOTH, ids=by_name)
async def test_a_client_of_both_eras_is_served_in_either(
    server: Server, name: str, run: Run, era: str, path: str
) -> None:
    client = CLIENTS[name].model_copy(update={"eras": (era,)})
    attempt, outcomes = await server.replay(client, run, path)
    check(client, run, outcomes)
    assert bool(attempt.session_id) == (era == "legacy")


@pytest.mark.parametrize("revision", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
async def test_a_client_gets_the_older_revision_that_it_asks_for(server: Server, revision: str) -> None:
    client = CLIENTS["vscode"].model_copy(update={"revision": revision})
    attempt, outcomes = await server.replay(client, client.runs[0])
    check(client, client.runs[0], outcomes)
    assert attempt.revision == revision
