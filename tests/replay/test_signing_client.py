"""ChatGPT as it is where a server takes assertions: it signs with a key that its document leads to."""

from mcpauth.replay.sequence import load
from tests.fakes.documents import ClientKey, DocumentHost
from tests.replay.conftest import Server

CHATGPT = load("chatgpt")


async def test_a_client_that_signs_connects_at_the_first_try(server: Server, host: DocumentHost) -> None:
    key, run = ClientKey("RS256"), CHATGPT.runs[0]
    client_id = host.publish(
        client_name="ChatGPT",
        redirect_uris=[run.redirect_uri],
        token_endpoint_auth_method="private_key_jwt",
        token_endpoint_auth_methods_supported=["none", "private_key_jwt"],
        token_endpoint_auth_signing_alg="RS256",
        jwks_uri=host.publish_keys(key),
    )

    def sign(client_id: str, audience: str) -> dict[str, str]:
        return key.form(client_id, audience, server.ambient.time)

    attempt, outcomes = await server.replay(CHATGPT, run.model_copy(update={"client_id": client_id}), sign=sign)
    assert all(one.ok for one in outcomes), outcomes
    assert attempt.client_id == client_id
    assert host.requests["/jwks.json"]
    assert "private_key_jwt" in attempt.server["token_endpoint_auth_methods_supported"]
