"""Tailscale: whether this machine has the public name, and whether port 443 of it leads to this server."""

import sys
from collections.abc import Iterator

from ...errors import TailscaledAbsent, TailscaledForbids, TailscaleError
from ...models.findings import Finding
from ...models.tailscale import ServeConfig, Status
from ...settings import Settings, public_host
from ..tailscale import LocalAPI
from . import place

CHECK = "Tailscale"
HTTPS_PAGE = "https://login.tailscale.com/admin/dns"
POLICY_PAGE = "https://login.tailscale.com/admin/acls/file"
FUNNEL_ATTRIBUTE = '"nodeAttrs": [{"target": ["autogroup:member"], "attr": ["funnel"]}]'
STATES = {
    "NeedsLogin": ("this machine is not signed in to Tailscale", "tailscale up"),
    "NeedsMachineAuth": (
        "this machine waits for approval in the tailnet",
        "approve it at https://login.tailscale.com/admin/machines",
    ),
    "Starting": ("it is starting", "wait a moment; if it stays so: sudo systemctl restart tailscaled"),
    "NoState": ("it is starting", "wait a moment; if it stays so: sudo systemctl restart tailscaled"),
}
# Paths that clients find everything by.
OURS = ("/mcp", "/.well-known", "/authorize", "/token", "/register")


async def look(settings: Settings, tailscaled: LocalAPI) -> list[Finding]:
    needed = place.at_tailscale(settings)
    try:
        status, config = await tailscaled.status(), await tailscaled.serve_config()
    except TailscaleError as error:
        return [_unanswered(error) if needed else _not_needed(settings)]
    if not needed:
        return [_unnamed(status, config, settings) or _not_needed(settings)]
    return list(_judge(status, config, settings))


def _judge(status: Status, config: ServeConfig, settings: Settings) -> Iterator[Finding]:
    host = public_host(settings.origin)
    if not status.running:
        found, fix = STATES.get(status.backend_state, ("it is stopped", "tailscale up"))
        yield Finding.problem(CHECK, found, fix)
        return
    if status.dns_name != host:
        yield _other_name(status, host)
        return
    yield Finding.fine(CHECK, f"running; this machine is {host}")
    if host in status.cert_domains:
        yield Finding.fine("HTTPS", "Tailscale gets certificates for the name")
    else:
        yield Finding.problem(
            "HTTPS", "certificates are not enabled in the tailnet", f"press Enable HTTPS at {HTTPS_PAGE}"
        )
    address = f"{host}:{place.port(settings)}"
    mapping = _mapping(config, address, settings)
    yield mapping
    if mapping.verdict != "problem":
        yield _funnel(status, config, address, settings)


def _unanswered(error: TailscaleError) -> Finding:
    if isinstance(error, TailscaledForbids):
        return Finding.warning(CHECK, str(error), "sudo tailscale set --operator=$USER, or run this with sudo")
    if isinstance(error, TailscaledAbsent) and sys.platform == "darwin":
        return Finding.warning(
            CHECK,
            f"{error}: the app of the App Store answers nobody but its own command line",
            "look yourself, with: tailscale funnel status",
        )
    if isinstance(error, TailscaledAbsent):
        return Finding.problem(
            CHECK,
            f"it is not running here: {error}",
            "sudo systemctl start tailscaled   (not installed yet: https://tailscale.com/download); "
            "if it listens elsewhere, set MCP_OAUTH_TAILSCALE_SOCKET",
        )
    return Finding.warning(CHECK, str(error), "sudo systemctl restart tailscaled")


def _not_needed(settings: Settings) -> Finding:
    return Finding.fine(CHECK, f"not needed for {settings.origin}")


def _unnamed(status: Status, config: ServeConfig, settings: Settings) -> Finding | None:
    """It leads to us under a name that clients are not told, and that we do not answer to."""
    address = f"{status.dns_name}:443"
    mounted = _mounts(config, address).get("/", "")
    if not settings.loopback or place.path_here(mounted, settings) != "/":
        return None
    return Finding.problem(
        CHECK,
        f"https://{status.dns_name} leads here, and the settings do not name it: apps there are turned away",
        f"MCP_OAUTH_PUBLIC_URL=https://{status.dns_name} into .env, and start the server again",
    )


def _other_name(status: Status, host: str) -> Finding:
    if not status.dns_name:
        return Finding.problem(CHECK, "this machine has no name: MagicDNS is off", f"enable MagicDNS at {HTTPS_PAGE}")
    label, _, suffix = host.partition(".")
    rename = f", or give the machine its name back: tailscale set --hostname={label}"
    return Finding.problem(
        CHECK,
        f"this machine is {status.dns_name}, and MCP_OAUTH_PUBLIC_URL says {host}",
        f"MCP_OAUTH_PUBLIC_URL=https://{status.dns_name} (then every app has to be connected again)"
        + (rename if suffix == status.magic_dns_suffix else ""),
    )


def _mapping(config: ServeConfig, address: str, settings: Settings) -> Finding:
    """What is at / of the public address, and whether something else is in its way."""
    check, command = f"https://{address.removesuffix(':443')}", place.command(settings)
    anew = f"tailscale serve reset && {command}   (reset takes away all that is mounted)"
    mounts = _mounts(config, address)
    if place.path_here(mounts.get("/", ""), settings) != "/":
        return _astray(config, address, settings, check, anew)
    if hidden := [path for path, proxy in mounts.items() if _hides(path, proxy, settings)]:
        found = f"{', '.join(hidden)} there leads elsewhere: apps need it from this server"
        return Finding.warning(check, found, anew)
    if address not in config.web:
        found = "leads here for as long as that `tailscale` command runs, and no longer"
        return Finding.warning(check, found, command)
    return Finding.fine(check, f"leads here ({mounts['/']})")


def _astray(config: ServeConfig, address: str, settings: Settings, check: str, anew: str) -> Finding:
    """Where it leads to, when that is not the beginning of this server."""
    command, mounts, port = place.command(settings), _mounts(config, address), address.rpartition(":")[2]
    root = mounts.pop("/", "")
    if here := [path for path, proxy in mounts.items() if place.path_here(proxy, settings) is not None]:
        return Finding.warning(
            check,
            f"leads here beneath {', '.join(here)} only: --set-path takes that off each request, and hides "
            "/.well-known, /authorize and /token, by which apps find everything",
            anew,
        )
    if forward := next((one.tcp[port].forward for one in _every(config) if port in one.tcp), ""):
        return Finding.problem(
            check,
            f"every connection is passed on to {forward} as it is: nobody there speaks TLS, or learns who comes",
            anew,
        )
    if root or mounts:
        found = f"leads to {root}, not to the beginning of this server" if root else "has nothing at /"
        return Finding.problem(check, found, f"{command}   (in place of what is at / now)")
    if elsewhere := _elsewhere(config, address, settings):
        return Finding.problem(
            check,
            f"leads nowhere; {', '.join(elsewhere)} leads here, and {place.only_443()} connect to port 443 only",
            command,
        )
    return Finding.problem(check, "nothing leads from there to this server", command)


def _funnel(status: Status, config: ServeConfig, address: str, settings: Settings) -> Finding:
    allowed = "funnel" in status.capabilities
    enable = f"allow it for this machine at {POLICY_PAGE}: {FUNNEL_ATTRIBUTE}"
    on = any(address in one.funnel for one in _every(config))
    if not settings.enabled:
        return _funnel_without_authorization(on, settings)
    if on and not allowed:
        return Finding.problem("Funnel", "it is on, and the tailnet's policy does not allow it to this machine", enable)
    if on:
        return Finding.fine("Funnel", "on: everybody on the internet reaches it")
    return Finding.warning(
        "Funnel",
        f"off: apps on your own devices can connect; those that run elsewhere cannot ({place.hosted()})",
        f"{place.command(settings)}   (if you want those)" + ("" if allowed else f"; before that, {enable}"),
    )


def _funnel_without_authorization(on: bool, settings: Settings) -> Finding:
    if not on:
        return Finding.fine("Funnel", "off, as it has to be without authorization (MCP_OAUTH_ENABLED=false)")
    return Finding.problem(
        "Funnel",
        "it is on, and authorization is off (MCP_OAUTH_ENABLED=false): all that comes through it is refused",
        f"tailscale funnel reset && {place.command(settings)}   (reset takes away all that is mounted); "
        "or MCP_OAUTH_ENABLED=true into .env, and start the server again",
    )


def _every(config: ServeConfig) -> list[ServeConfig]:
    return [config, *config.foreground.values()]


def _mounts(config: ServeConfig, address: str) -> dict[str, str]:
    """What is at each path of ``address``."""
    handlers = [one.web[address].handlers for one in _every(config) if address in one.web]
    return {path: one.proxy or "files or a text" for mounted in handlers for path, one in mounted.items()}


def _hides(path: str, proxy: str, settings: Settings) -> bool:
    """Whether one of our paths is beneath this mount, which does not lead to the same path here."""
    ours = any(path == one or path.startswith(f"{one}/") for one in (*OURS, settings.base_path))
    return ours and place.path_here(proxy, settings) != path


def _elsewhere(config: ServeConfig, address: str, settings: Settings) -> list[str]:
    """Other addresses whose / is this server."""
    others = dict.fromkeys(one for every in _every(config) for one in every.web if one != address)
    return [one for one in others if place.path_here(_mounts(config, one).get("/", ""), settings) == "/"]
