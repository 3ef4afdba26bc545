"""Every client that is known, in each of its ways, from the first request to a refresh."""

import pytest

from mcpauth.replay.play import Outcome
from mcpauth.replay.sequence import Client, Run, load, names
from tests.replay.conftest import Server

CLIENTS = {name: load(name) for name in names()}
ALL = [(name, run) for name, client in CLIENTS.items() for run in client.runs]
BOTH = [
    (name, client.runs[0].model_copy(update={"then": ()}))
    for name, client in CLIENTS.items()
    if "modern" in client.eras
]


def by_name(value: object) -> str:
    return value.name if isinstance(value, Run) else str(value)


def problem(outcomes: list[Outcome]) -> str:
    """Of the step that failed; empty when the client got through."""
    return next((f"{one.step}: {one.note}. {one.fix}" for one in outcomes if not one.ok), "")


def check(client: Client, run: Run, outcomes: list[Outcome]) -> None:
    assert problem(outcomes) == ""
    assert len(outcomes) == len(client.steps) + len(run.then)


@pytest.mark.parametrize(("name", "run"), ALL, ids=by_name)
async def test_a_client_connects_at_the_first_try(server: Server, name: str, run: Run) -> None:
    attempt, outcomes = await server.replay(CLIENTS[name], run)
    check(CLIENTS[name], run, outcomes)
    assert attempt.by_document == bool(run.client_id)
    stories = await server.services.operations.run("trace list", {})
    assert "connected" in [story["state"] for story in stories if story["client_id"] == attempt.client_id]


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
