"""Every client that is known, in each of its ways, from the first request to a refresh."""

import pytest

from mcpauth.replay.play import Outcome
from mcpauth.replay.sequence import Client, Run, load, names
from tests.replay.conftest import Server

CLIENTS = {name: load(name) for name in names()}
ALL = [(name, run) for name, client in CLIENTS.items() for run in client.runs]
MODERN = [(name, client.runs[-1]) for name, client in CLIENTS.items() if "modern" in client.eras]


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


@pytest.mark.parametrize(("path", "era"), [("/mcp/files", "modern"), ("/mcp/old", "legacy")])
@pytest.mark.parametrize(("name", "run"), MODERN, ids=by_name)
async def test_a_client_of_both_eras_speaks_the_one_it_finds(
    server: Server, name: str, run: Run, path: str, era: str
) -> None:
    attempt, outcomes = await server.replay(CLIENTS[name], run, path)
    check(CLIENTS[name], run, outcomes)
    assert attempt.era == era
