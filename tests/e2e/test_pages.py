"""The pages in a real browser: phone and desktop, light and dark."""

import asyncio
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.async_api import Route

from tests.e2e.chromium import CHROMIUM, need, person
from tests.live import LiveServer, free_port
from tests.oauth_client import OAuthClient

pytestmark = pytest.mark.gen_test(timeout=120)

CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


async def test_no_page_is_wider_than_its_window_nor_breaks_its_own_policy(tmp_path: Path) -> None:
    need("chromium", bool(CHROMIUM))
    async with LiveServer(tmp_path) as server, person("ada", "correct horse battery") as ada:
        client = OAuthClient(server.origin, server.origin)
        await client.register(
            client_name="A client with a name that goes on and on, and_has_one_very_long_word_in_it",
            redirect_uris=["https://client.example/callback"],
        )
        query = {
            "response_type": "code",
            "client_id": client.client_id,
            "redirect_uri": "https://client.example/callback",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            "scope": "mcp user:email offline_access",
        }
        authorize = f"{server.origin}/authorize?{urlencode(query)}"

        async def look(*urls: str) -> None:
            for url in urls:
                await ada.page.goto(url)
                for width in (360, 1280):
                    for scheme in ("light", "dark"):
                        await ada.page.set_viewport_size({"width": width, "height": 800})
                        await ada.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
                        wide = await ada.page.evaluate("document.documentElement.scrollWidth - innerWidth")
                        assert wide <= 0, f"{url} is {wide} pixels too wide at {width}"

        await look(server.origin, f"{server.origin}/setup?code={server.setup_link.split('=')[1]}", authorize)
        await ada.set_up(server.setup_link)
        await look(authorize, f"{server.origin}/auth/oauth/signin")
        assert ada.problems == []
        await look(f"{server.origin}/authorize?client_id=nobody", f"{server.origin}/nothing/here")
        # Chromium itself complains of the statuses 400 and 404 of these two.
        assert all("status of 40" in problem for problem in ada.problems)


async def test_the_consent_page_works_by_keyboard_and_without_its_script(tmp_path: Path) -> None:
    need("chromium", bool(CHROMIUM))
    async with LiveServer(tmp_path) as server, person("ada", "correct horse battery") as ada:
        await ada.set_up(server.setup_link)
        arrived: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            line = await reader.readline()
            if not arrived.done():
                arrived.set_result(line)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nconnected")
            writer.close()

        async def without_script(route: Route) -> None:
            await route.abort()

        port = free_port()
        client = OAuthClient(server.origin, server.origin)
        await client.register(redirect_uris=[f"http://127.0.0.1:{port}/callback"])
        await ada.page.route("**/static/*.js*", without_script)
        async with await asyncio.start_server(listen, "127.0.0.1", port):
            await ada.page.goto(server.origin + client.authorization_url())
            allow = ada.page.get_by_role("button", name="Allow")
            for _ in range(40):
                await ada.page.keyboard.press("Tab")
                if await allow.evaluate("button => button === document.activeElement"):
                    break
            await ada.page.keyboard.press("Enter")
            line = await asyncio.wait_for(arrived, 30)
        assert line.startswith(b"GET /callback?code=")
