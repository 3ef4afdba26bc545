"""Clients without a document of their own, to which a person names one that they have published."""

import pytest

from mcpauth.replay.sequence import Run, load, names
from tests.fakes.documents import DocumentHost
from tests.replay.conftest import Server

CLIENTS = {name: load(name) for name in names()}
ALL = [(name, run) for name, client in CLIENTS.items() for run in client.runs if run.document]


@pytest.mark.parametrize(("name", "run"), ALL, ids=lambda value: value.name if isinstance(value, Run) else value)
async def test_a_client_connects_with_a_document_that_a_person_published(
    server: Server, host: DocumentHost, name: str, run: Run
) -> None:
    client_id = host.publish(f"/{name}.json", redirect_uris=[run.redirect_uri], **run.document)
    attempt, outcomes = await server.replay(CLIENTS[name], run.model_copy(update={"client_id": client_id}))
    assert all(one.ok for one in outcomes), outcomes
    assert (attempt.client_id, attempt.registration) == (client_id, {})
    assert host.requests[f"/{name}.json"]
