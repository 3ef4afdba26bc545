"""The data of the clients: whole, honest about what is not known, and in step with the table of clients."""

from typing import Any

import pytest

from mcpauth.oauth import client_profiles
from mcpauth.replay.assertions import ASSERTIONS
from mcpauth.replay.attempt import PLACEHOLDER, Attempt
from mcpauth.replay.sequence import Run, directory, load, names

CLIENTS = {name: load(name) for name in names()}
ALL = [(name, run) for name, client in CLIENTS.items() for run in client.runs if not run.document]

# Their names are those of what is built on them.
ANY_NAME = {"sdk-typescript", "sdk-python"}
RUN_ANYWHERE = {"LibreChat", "Open WebUI", "Copilot Studio"}


def texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for one in value.values() for text in texts(one)]
    return [text for one in value for text in texts(one)] if isinstance(value, list | tuple) else []


@pytest.mark.parametrize("name", CLIENTS)
def test_a_file_is_whole(name: str) -> None:
    client = CLIENTS[name]
    assert client.sources
    assert client.gaps
    ways = [client.going(run) for run in client.runs]
    steps = [step for run, way in zip(client.runs, ways, strict=True) for step in (*way.steps, *run.then)]
    for step in steps:
        asserted = {*getattr(step, "asserts", ()), *getattr(step, "warns", ())}
        assert asserted <= set(ASSERTIONS)
    # Only a registration takes all that came of it along when it is removed.
    assert not [run.name for run in client.runs if run.client_id and any(step.do == "authorize" for step in run.then)]
    for way in ways:
        assert [step.do for step in way.steps].index("redeem") < [step.do for step in way.steps].index("refresh")


@pytest.mark.parametrize("name", CLIENTS)
def test_what_is_not_known_of_it_is_said(name: str) -> None:
    client, gaps = CLIENTS[name], " ".join(CLIENTS[name].gaps)
    assert "clientInfo" in gaps
    if "everything but" not in gaps:
        assert "User-Agent" in client.headers.mcp or "user agent" in gaps
        assert client.eras == ("modern", "legacy") or "revisions of MCP" in gaps


def test_no_assertion_is_there_that_no_client_makes() -> None:
    text = "".join(path.read_text() for path in directory().glob("*.toml"))
    assert not [name for name in ASSERTIONS if f'"{name}"' not in text]


@pytest.mark.parametrize("name", CLIENTS)
def test_what_is_to_be_filled_in_can_be(name: str) -> None:
    client = CLIENTS[name]
    attempt = Attempt(client, client.runs[0], "https://host.example/mcp", None, None, _Random())  # type: ignore[arg-type]
    used = {found for text in texts(client.model_dump()) for found in PLACEHOLDER.findall(text)}
    assert used <= set(attempt.values())


class _Random:
    def identifier(self) -> str:
        return "random"


@pytest.mark.parametrize(("name", "run"), ALL, ids=lambda value: value.name if isinstance(value, Run) else value)
def test_the_table_of_clients_takes_none_of_them_for_another(name: str, run: Run) -> None:
    client, redirect_uri = CLIENTS[name], run.redirect_uri.replace("{callback_id}", "a")
    profile = client_profiles.identify(run.client_id.replace("{callback_id}", "a"), redirect_uri)
    if profile is not None:
        # That one comes with the addresses of another client, and cannot be told from it.
        assert profile.name == client.title or run.name == "bot"
        return
    assert not run.client_id
    assert redirect_uri.startswith("http:") or client.title in RUN_ANYWHERE
    if name not in ANY_NAME:
        loopback = redirect_uri.startswith("http:")
        assert client_profiles.posed_as(client.registration["client_name"], redirect_uri, loopback=loopback) is None
