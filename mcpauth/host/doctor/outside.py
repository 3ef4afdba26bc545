"""The public address, as the internet sees it: its name, its certificate, and what clients find there."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import aiohttp

from ...ambient import Ambient
from ...errors import OperationError, StepFailed
from ...fetch.pinned import Pinned
from ...fetch.public_address import is_address, is_public
from ...models.findings import Finding
from ...replay import sequence
from ...replay.attempt import Attempt
from ...replay.play import Outcome, play
from ...replay.wire import Wire
from ...settings import Settings, public_host
from . import certificate, place
from .public_names import Addresses, PublicNames
from .running import SECONDS, Ask

NAME, SAME = "public name", "this server"
CLIENT = Path(__file__).parent / "client.toml"
MOST = 4  # addresses of a name that are looked at
ANOTHER = "Another server, or another mcpauth, is there: see where the proxy, or `tailscale serve status`, leads to."


class Outside:
    """``names`` tells what the internet knows; only addresses that ``is_public`` are connected to, at ``port``.

    ``tls`` says whose certificates count, by default those that the system trusts.
    """

    def __init__(
        self,
        names: PublicNames,
        ambient: Ambient,
        *,
        is_public: Callable[[str], bool] = is_public,
        port: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._names, self._ambient, self._is_public, self._port = names, ambient, is_public, port
        self._tls = tls or ssl.create_default_context()

    async def look(self, settings: Settings, ask: Ask) -> list[Finding]:
        if settings.loopback:
            return await _visit(settings, ask, _at_home(settings))
        if not settings.enabled and place.at_tailscale(settings):
            return [Finding.fine(NAME, "not looked at: without authorization nobody on the internet is let in")]
        host = public_host(settings.origin)
        known = _literal(host) if is_address(host.strip("[]")) else await self._names.addresses(host)
        name = self._judge(known, settings)
        if known is None or name.verdict != "fine":
            return [name]
        addresses, port = known.v4[:MOST], self._port or place.port(settings)
        shown = await asyncio.gather(*(self._certificate(settings, address, port) for address in addresses))
        if bad := [one for one in shown if one.check != certificate.CHECK or one.verdict == "problem"]:
            return [name, *bad]
        pinned = aiohttp.TCPConnector(
            resolver=Pinned(addresses, port), use_dns_cache=False, force_close=True, ssl=self._tls
        )
        worst = next((one for one in shown if one.verdict != "fine"), shown[0])
        return [name, worst, *await _visit(settings, ask, pinned)]

    async def _certificate(self, settings: Settings, address: str, port: int) -> Finding:
        return await certificate.look(settings, address, port, self._tls, self._ambient.now())

    def _judge(self, known: Addresses | None, settings: Settings) -> Finding:
        host = public_host(settings.origin)
        if known is None:
            return Finding.warning(
                NAME,
                "it could not be looked at from outside: no name server on the internet answers",
                "see that this computer is on the internet; where others' name servers are blocked: --resolver ADDRESS",
            )
        addresses = [*known.v4, *known.v6]
        if not addresses:
            return _unknown(host, settings)
        if private := [one for one in addresses if not self._is_public(one)]:
            return Finding.problem(
                NAME,
                f"{host} leads to {', '.join(private)}, which nobody reaches from the internet (private, or within a "
                f"tailnet): {place.hosted()} cannot connect",
                _public_address(settings),
            )
        if not known.v4:
            return Finding.problem(
                NAME,
                f"{host} has IPv6 addresses only (AAAA): most apps that run elsewhere need IPv4",
                f"add an A record; or use the name that Tailscale gives: {place.command(settings)}",
            )
        return Finding.fine(NAME, f"{host} leads to {', '.join(addresses)}")


def _at_home(settings: Settings) -> aiohttp.BaseConnector:
    if settings.unix_socket is not None:
        return aiohttp.UnixConnector(str(settings.unix_socket), force_close=True)
    return aiohttp.TCPConnector(force_close=True)


def _unknown(host: str, settings: Settings) -> Finding:
    """Tailscale publishes a name when Funnel is on for it, and without that some clients are there all the same."""
    if place.at_tailscale(settings):
        return Finding.warning(
            NAME,
            f"the internet does not know {host}: {place.hosted()} cannot connect, your own devices can",
            f"{place.command(settings)}   (then wait up to ten minutes)",
        )
    return Finding.problem(NAME, f"the internet does not know {host}", f"make an A record for {host}")


def _public_address(settings: Settings) -> str:
    command = place.command(settings)
    if place.at_tailscale(settings):
        return f"{command}   (then wait up to ten minutes)"
    return f"let it lead to a public address; or use the name that Tailscale gives: {command}"


def _literal(address: str) -> Addresses:
    bare = address.strip("[]")
    return Addresses([], [bare]) if ":" in bare else Addresses([bare], [])


async def _visit(settings: Settings, ask: Ask, connector: aiohttp.BaseConnector) -> list[Finding]:
    """What a client finds there, step by step, and whether it is the server that runs here."""
    client = sequence.read(CLIENT)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False) as http:
        wire = Wire(http, client.timeout, place.command(settings))
        attempt = Attempt(client, client.runs[0], f"{settings.origin}/mcp", wire, Nobody(), Ambient())
        outcomes = [outcome async for outcome in play(attempt)]
        # The metadata that the challenge names is mostly that which is beside the URL: told once.
        found = dict.fromkeys(map(_found, outcomes))
        return [*found, *([same] if outcomes[0].ok and (same := await _same(settings, ask, wire)) else [])]


def _found(outcome: Outcome) -> Finding:
    verdict = Finding.fine(outcome.step, outcome.note)
    return verdict if outcome.ok else Finding.problem(outcome.step, outcome.note, outcome.fix)


async def _same(settings: Settings, ask: Ask, wire: Wire) -> Finding | None:
    """None when no server runs here that could say."""
    try:
        async with asyncio.timeout(SECONDS):
            word = (await ask("presence", {}))["word"]
        exchange = await wire.send("GET", f"{settings.origin}{settings.base_path}/presence/{word}", {})
    except (OSError, TimeoutError, OperationError):
        return None
    except StepFailed as failed:
        return Finding.problem(SAME, failed.reason, failed.fix)
    if exchange.status == 200 and exchange.json.get("present") is True:
        return Finding.fine(SAME, "it is the one that answers there")
    return Finding.problem(SAME, "it is not the one that answers there", ANOTHER)


class Nobody:
    """There is no person: no step goes so far."""

    async def allow(self, url: str) -> str:
        raise NotImplementedError("nobody is asked")

    async def deny(self, url: str) -> str:
        raise NotImplementedError("nobody is asked")
