"""Names are asked where the internet asks, and the answer is the internet's."""

import pytest

from mcpauth.errors import SettingsError
from mcpauth.host.doctor import public_names
from mcpauth.host.doctor.public_names import PublicNames
from tests.fakes.name_server import FakeNameServer


async def test_both_kinds_of_addresses(name_server: FakeNameServer) -> None:
    name_server.names["host.example"] = ["198.51.100.7", "2001:db8::7"]
    names = PublicNames([name_server.address])
    assert await names.addresses("host.example") == (["198.51.100.7"], ["2001:db8::7"])
    name_server.names["host.example"] = ["2001:db8::7"]
    assert await names.addresses("host.example") == ([], ["2001:db8::7"])


async def test_a_name_of_this_system_alone_is_unknown(name_server: FakeNameServer) -> None:
    assert await PublicNames([name_server.address]).addresses("localhost") == ([], [])
    assert set(name_server.asked) == {"localhost"}


async def test_a_server_that_does_not_answer_is_no_answer(
    name_server: FakeNameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_server.names["host.example"] = ["198.51.100.7"]
    name_server.refuses = True
    assert await PublicNames([name_server.address]).addresses("host.example") is None
    monkeypatch.setattr(public_names, "EACH", 0.1)
    monkeypatch.setattr(public_names, "ALL", 0.2)
    name_server.refuses, name_server.silent = False, True
    assert await PublicNames([name_server.address]).addresses("host.example") is None


async def test_the_next_one_is_asked(name_server: FakeNameServer) -> None:
    name_server.names["host.example"] = ["198.51.100.7"]
    refusing = FakeNameServer()
    refusing.refuses = True
    await refusing.start()
    found = await PublicNames([refusing.address, name_server.address]).addresses("host.example")
    assert found == (["198.51.100.7"], [])
    assert refusing.asked
    await refusing.stop()


@pytest.mark.parametrize("resolver", ["example.com", "1.1.1.1:x", "", "[::1", "1.1.1.1:70000"])
def test_a_resolver_is_an_address(resolver: str) -> None:
    with pytest.raises(SettingsError, match="--resolver"):
        PublicNames([resolver])


@pytest.mark.parametrize("resolver", ["1.1.1.1", "2606:4700:4700::1111", "[::1]:53", "127.0.0.1:5353"])
def test_with_a_port_or_without(resolver: str) -> None:
    PublicNames([resolver])
