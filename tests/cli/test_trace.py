"""`trace`: what the owner reads when a client says only that something went wrong."""

import asyncio
import json
import signal
import sys

import pytest

from tests.cli.conftest import connect
from tests.live import SERVER, LiveServer

pytestmark = pytest.mark.gen_test(timeout=120)


async def test_the_stories_of_a_server(command, add_owner, tmp_path):
    printed = (await command("trace")).printed
    assert "Nobody has tried" in printed
    assert "python server.py doctor" in printed
    await add_owner()
    async with LiveServer(tmp_path) as server:
        client = await connect(server)
        waiting = (await command("trace")).printed
        assert "… token issued; the first request to /mcp is to come" in waiting
        await client.initialize()
        (story,) = (await command("trace", "--json")).json
        assert story["verdict"] == "connected"
        assert story["client"] == "Test client"
        whole = await command("trace", story["id"])
        assert whole.status == 0
        assert whole.printed.startswith("✓ connected\n")
        assert "POST /token" in whole.printed

        follower = await asyncio.create_subprocess_exec(
            sys.executable,
            str(SERVER),
            *("trace", "--follow", "--json"),
            cwd=tmp_path,
            env=server.environ,
            stdout=asyncio.subprocess.PIPE,
        )
        assert follower.stdout is not None
        assert json.loads(await follower.stdout.readline())[0]["id"] == story["id"]
        await client.register(redirect_uris=["javascript:alert(1)"])
        failed = json.loads(await follower.stdout.readline())
        assert failed["state"] == "stopped"
        await server.restart()
        await client.fetch("/register", "POST", {"redirect_uris": ["javascript:alert(2)"]})
        assert json.loads(await follower.stdout.readline())["state"] == "stopped"
        follower.send_signal(signal.SIGINT)
        await follower.wait()
    # And after the server has stopped.
    done = await command("trace", failed["id"])
    assert done.status == 1
    assert "What to do:" in done.printed
    assert (await command("trace", "--follow")).status == 1
    assert (await command("trace", "nothing")).status == 1
