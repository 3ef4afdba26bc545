"""What tailscaled is asked, and what is made of its answers."""

import asyncio
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from mcpauth.errors import TailscaledAbsent, TailscaledFailed, TailscaledForbids, TailscaleError
from mcpauth.host import tailscale
from mcpauth.host.tailscale import LocalAPI
from tests.fakes.tailscaled import HOST, SUFFIX, TAILNET, FakeTailscaled

ALICE = "100.101.102.103"


@pytest.fixture
def api(tailscaled: FakeTailscaled) -> LocalAPI:
    return LocalAPI(tailscaled.socket)


async def test_the_status_of_this_machine(api: LocalAPI, tailscaled: FakeTailscaled) -> None:
    status = await api.status()
    assert status.running
    assert status.dns_name == HOST
    assert status.cert_domains == (HOST,)
    assert status.addresses == ("100.64.0.1", "fd7a:115c:a1e0::1")
    assert (status.tailnet, status.magic_dns_suffix, status.magic_dns) == (TAILNET, SUFFIX, True)
    assert status.capabilities >= {"https", "funnel"}
    assert status.tags == () == status.health


async def test_a_stopped_one_says_so(api: LocalAPI, tailscaled: FakeTailscaled) -> None:
    tailscaled.state = "Stopped"
    status = await api.status()
    assert not status.running
    assert status.backend_state == "Stopped"
    assert status.health == ("Tailscale is stopped.",)
    assert status.dns_name == ""


async def test_what_is_served(api: LocalAPI, tailscaled: FakeTailscaled) -> None:
    assert (await api.serve_config()).web == {}
    tailscaled.serve("unix:/run/mcpauth.sock")
    served = await api.serve_config()
    assert served.web[f"{HOST}:443"].handlers["/"].proxy == "unix:/run/mcpauth.sock"
    assert served.funnel == frozenset()
    tailscaled.serve("http://127.0.0.1:3210", funnel=True, mount="/mcp")
    served = await api.serve_config()
    assert served.web[f"{HOST}:443"].handlers["/mcp"].proxy == "http://127.0.0.1:3210"
    assert served.funnel == {f"{HOST}:443"}


async def test_what_ends_with_its_command_is_told_apart(api: LocalAPI, tailscaled: FakeTailscaled) -> None:
    tailscaled.serve("http://127.0.0.1:3210")
    tailscaled.serve_config = {"Foreground": {"session": tailscaled.serve_config}}
    served = await api.serve_config()
    assert served.web == {}
    assert f"{HOST}:443" in served.foreground["session"].web


async def test_a_port_whose_funnel_was_switched_off_is_not_public(api: LocalAPI, tailscaled: FakeTailscaled) -> None:
    tailscaled.serve("http://127.0.0.1:3210", funnel=True)
    assert tailscaled.serve_config is not None
    tailscaled.serve_config["AllowFunnel"] = {f"{HOST}:443": False}
    assert (await api.serve_config()).funnel == frozenset()


@pytest.mark.parametrize("address", [ALICE, "fd7a:115c:a1e0::7"])
async def test_whose_node_an_address_is(api: LocalAPI, tailscaled: FakeTailscaled, address: str) -> None:
    tailscaled.join(address, "alice@example.com", 71, "Alice")
    known = await api.whois(address)
    assert known is not None
    assert (known.user_id, known.login, known.display_name) == (71, "alice@example.com", "Alice")
    assert known.node_name == f"device-1.{SUFFIX}"
    assert known.tags == ()
    assert not known.sharee


async def test_a_tagged_node_has_its_tags_and_an_unknown_address_nobody(
    api: LocalAPI, tailscaled: FakeTailscaled
) -> None:
    tailscaled.join_tagged(ALICE, "tag:ci")
    known = await api.whois(ALICE)
    assert known is not None
    assert known.tags == ("tag:ci",)
    assert await api.whois("100.64.9.9") is None


@pytest.mark.parametrize("address", ["", "host", "100.64.0.1&addr=100.64.0.2", "nodekey:abc", "100.64.0.1:80"])
async def test_only_addresses_are_asked_for(api: LocalAPI, tailscaled: FakeTailscaled, address: str) -> None:
    with pytest.raises(ValueError, match="address"):
        await api.whois(address)
    assert tailscaled.requests["whois"] == 0


async def test_where_no_tailscaled_is(tmp_path: Path) -> None:
    api = LocalAPI(tmp_path / "tailscaled.sock")
    with pytest.raises(TailscaledAbsent):
        await api.status()
    with pytest.raises(TailscaledAbsent):
        api.uid()


async def test_a_socket_that_its_process_left_behind(api: LocalAPI, tailscaled: FakeTailscaled) -> None:
    left = tailscaled.directory / "left.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(left))
    with pytest.raises(TailscaledAbsent):
        await LocalAPI(left).status()


async def test_it_may_forbid_to_ask(api: LocalAPI, tailscaled: FakeTailscaled) -> None:
    tailscaled.forbids = True
    for ask in (api.status(), api.serve_config(), api.whois(ALICE)):
        with pytest.raises(TailscaledForbids):
            await ask


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"not json", id="no-json"),
        pytest.param(b"[1]", id="another-shape"),
        pytest.param(b'{"BackendState": 7, "UserProfile": {"ID": "x"}, "Web": [1]}', id="another-type"),
        pytest.param(b"[" * 100_000, id="nested"),
        pytest.param(b'{"x": "' + b"y" * (2 * 1024 * 1024) + b'"}', id="huge"),
    ],
)
async def test_what_makes_no_sense_is_a_failure(api: LocalAPI, tailscaled: FakeTailscaled, answer: bytes) -> None:
    tailscaled.answer = answer
    for ask in (api.status(), api.serve_config(), api.whois(ALICE)):
        with pytest.raises(TailscaledFailed):
            await ask


async def test_nobody_waits_for_one_that_hangs(
    api: LocalAPI, tailscaled: FakeTailscaled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tailscale, "TIMEOUT", 0.2)
    tailscaled.held = asyncio.Event()
    asked: list[Any] = [api.whois(ALICE) for _ in range(20)]
    failed = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(one, TailscaledFailed) for one in failed)


async def test_so_many_are_under_way_at_a_time(
    api: LocalAPI, tailscaled: FakeTailscaled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tailscale, "TIMEOUT", 30)
    tailscaled.held = asyncio.Event()
    asked = [asyncio.ensure_future(api.whois(ALICE)) for _ in range(20)]
    while tailscaled.requests["whois"] < tailscale.MOST_AT_ONCE:  # noqa: ASYNC110 - a counter sets no Event
        await asyncio.sleep(0)
    # Somebody else's comes through meanwhile: if there were more of ours, they would have, too.
    other = asyncio.ensure_future(LocalAPI(tailscaled.socket).status())
    while not tailscaled.requests["status"]:  # noqa: ASYNC110 - nor does this
        await asyncio.sleep(0)
    assert tailscaled.requests["whois"] == tailscale.MOST_AT_ONCE
    tailscaled.held.set()
    await asyncio.gather(*asked, other)


async def test_its_socket_says_who_it_runs_as(api: LocalAPI, tailscaled: FakeTailscaled) -> None:
    assert api.uid() == os.geteuid()


async def test_one_that_goes_away_is_an_error_like_the_others(api: LocalAPI, tailscaled: FakeTailscaled) -> None:
    await api.status()
    await tailscaled.stop()
    shutil.rmtree(tailscaled.directory, ignore_errors=True)
    with pytest.raises(TailscaleError):
        await api.status()
