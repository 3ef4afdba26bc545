"""Where this server is, in the words of what leads to it; and which clients need more than that."""

from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from ...fetch.public_address import is_address
from ...replay import sequence
from ...settings import LOOPBACK_HOSTS, Settings, public_host

TAILSCALE = ".ts.net"


def at_tailscale(settings: Settings) -> bool:
    """Whether the public name is one that Tailscale gives."""
    return public_host(settings.origin).endswith(TAILSCALE)


def port(settings: Settings) -> int:
    """That clients connect to."""
    return urlsplit(settings.origin).port or 443


def target(settings: Settings) -> str:
    """What `tailscale serve` and `funnel` are told to lead to."""
    if settings.unix_socket is not None:
        return f"unix:{settings.unix_socket.absolute()}"
    return str(settings.port) if _is_reached_at_loopback(settings.host) else f"http://{settings.listens_on}"


def command(settings: Settings) -> str:
    """The way here that every client can take: at / and port 443. Nothing from the internet without authorization."""
    return f"tailscale {'funnel' if settings.enabled else 'serve'} --bg {target(settings)}"


def _is_reached_at_loopback(host: str) -> bool:
    return _bracketed(host) in LOOPBACK_HOSTS or (is_address(host) and ip_address(host).is_unspecified)


def path_here(proxy: str, settings: Settings) -> str | None:
    """The path of this server to which `tailscale` leads with ``proxy``; None when it leads elsewhere."""
    if proxy.startswith("unix:"):
        given, ours = Path(proxy.removeprefix("unix:")), settings.unix_socket
        return "/" if ours is not None and given.resolve() == ours.resolve() else None
    try:
        parts = urlsplit(proxy if "//" in proxy else f"http://{proxy}")
        host, port = parts.hostname or "", parts.port or 80
    except ValueError:
        return None
    here = host == settings.host or _bracketed(host) in LOOPBACK_HOSTS
    leads = settings.unix_socket is None and parts.scheme == "http" and here and port == settings.port
    return (parts.path or "/") if leads else None


def hosted() -> str:
    """The clients that run elsewhere, and so need a public address."""
    return ", ".join(one.title for one in map(sequence.load, sequence.names()) if one.where == "hosted")


def only_443() -> str:
    """Those that connect to no other port."""
    return ", ".join(one.title for one in map(sequence.load, sequence.names()) if one.ports == (443,))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
