"""What the headers of `tailscale serve` say of a request's sender; they count on the Unix socket alone."""

import socket
import struct
import sys
from email.errors import MessageError
from email.header import decode_header, make_header

from tornado.httputil import HTTPHeaders, HTTPServerRequest

from ..models.tailscale import Visitor
from .site import over_unix_socket

ONCE = ("Tailscale-User-Login", "X-Forwarded-For", "X-Forwarded-Host")
AT_MOST_ONCE = ("Tailscale-User-Name", "Tailscale-User-Profile-Pic", "Tailscale-Headers-Info", "X-Forwarded-Proto")
LONGEST = 1000


def visitor_of(request: HTTPServerRequest) -> Visitor | None:
    """None on any other listener: there everybody could send these headers."""
    if not over_unix_socket(request):
        return None
    headers = request.headers
    return Visitor(
        uid=_uid_of_peer(request),
        funnel="Tailscale-Funnel-Request" in headers,
        plain=_is_plain(headers),
        login=_decode(headers.get("Tailscale-User-Login", "")),
        address=headers.get("X-Forwarded-For", "").strip(),
    )


def _is_plain(headers: HTTPHeaders) -> bool:
    return (
        all(len(headers.get_list(name)) == 1 for name in ONCE)
        and all(len(headers.get_list(name)) <= 1 for name in AT_MOST_ONCE)
        # tailscaled takes it away: something else stands in between.
        and "Forwarded" not in headers
    )


def _decode(value: str) -> str:
    """A value that is not ASCII comes Q-encoded (RFC 2047). Empty for what cannot be decoded."""
    try:
        return str(make_header(decode_header(value))) if len(value) <= LONGEST else ""
    except (MessageError, LookupError, ValueError):
        return ""


def _uid_of_peer(request: HTTPServerRequest) -> int | None:
    """The user of the process that opened the connection, where the platform tells."""
    stream = getattr(request.connection, "stream", None)
    peer: socket.socket | None = getattr(stream, "socket", None)
    if peer is None:
        return None
    try:
        if hasattr(socket, "SO_PEERCRED"):
            _, uid, _ = struct.unpack("iII", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            return int(uid)
        if sys.platform == "darwin":
            # struct xucred of sys/ucred.h: the version, the uid, the groups.
            _, uid = struct.unpack_from("II", peer.getsockopt(0, 1, 76))
            return int(uid)
    except OSError:
        pass
    return None
