"""Only who asked the process itself has a word that it answers to."""

import json
from typing import Any

from mcpauth.app import Services
from tests.conftest import FixedAmbient


async def ask(http_client: Any, base_url: str, word: str) -> Any:
    url = f"{base_url}/auth/oauth/presence/{word}"
    return await http_client.fetch(url, headers={"Host": "localhost"}, raise_error=False)


async def test_a_word_is_good_for_a_minute(
    services: Services, ambient: FixedAmbient, http_server: object, http_client: Any, base_url: str
) -> None:
    word = (await services.operations.run("presence", {}))["word"]
    answer = await ask(http_client, base_url, word)
    assert (answer.code, json.loads(answer.body)) == (200, {"present": True})
    ambient.time += 60
    assert (await ask(http_client, base_url, word)).code == 404


async def test_nobody_else_learns_anything(
    services: Services, http_server: object, http_client: Any, base_url: str
) -> None:
    await services.operations.run("presence", {})
    for word in ("x" * 43, "x", ""):
        answer = await ask(http_client, base_url, word)
        assert (answer.code, answer.headers["Content-Type"]) == (404, "application/json")


async def test_a_few_are_kept_and_no_more(
    services: Services, http_server: object, http_client: Any, base_url: str
) -> None:
    words = [(await services.operations.run("presence", {}))["word"] for _ in range(17)]
    assert (await ask(http_client, base_url, words[0])).code == 404
    assert (await ask(http_client, base_url, words[1])).code == 200
