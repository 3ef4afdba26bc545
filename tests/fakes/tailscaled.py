"""Plays tailscaled: its LocalAPI on a Unix socket, for a small tailnet.

Like the real one it answers to no other Host than its own, and refuses what comes from a web page (Origin, Referer).
"""

import asyncio
import ipaddress
import json
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from tornado import web
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_unix_socket

TAILNET, SUFFIX = "example.com", "tail1234.ts.net"
HOST = f"host.{SUFFIX}"
TAGGED = {"ID": 9999, "LoginName": "tagged-devices", "DisplayName": "Tagged Devices"}


class FakeTailscaled:
    """``nodes`` are those of the tailnet, by address: what whois answers. A test changes what it wants to be different.

    ``socket`` is in a folder of its own with a short name: paths of sockets may have about a hundred characters.
    """

    def __init__(self) -> None:
        self.nodes: dict[str, dict[str, Any]] = {}
        self.state = "Running"
        self.tailnet, self.suffix = TAILNET, SUFFIX
        self.status: dict[str, Any] = {}  # what is different in it
        self.serve_config: dict[str, Any] | None = None
        # What is different from how it should be.
        self.forbids = False  # as if this user may not ask
        self.answer: bytes | None = None  # in place of every other
        self.held: asyncio.Event | None = None  # answers wait for it
        # What happened.
        self.requests: Counter[str] = Counter()
        self.directory = Path(tempfile.mkdtemp(prefix="tailscaled"))
        self.socket = self.directory / "tailscaled.sock"
        self._server: HTTPServer | None = None

    def join(self, address: str, login: str, user_id: int, name: str = "Somebody", **node: Any) -> None:
        """A device of ``login`` gets this address."""
        device = f"device-{len(self.nodes) + 1}.{self.suffix}."
        self.nodes[address] = {
            "Node": {"ID": 100 + len(self.nodes), "Name": device, "Hostinfo": {"OS": "linux"}, **node},
            "UserProfile": {"ID": user_id, "LoginName": login, "DisplayName": name, "ProfilePicURL": ""},
            "CapMap": None,
        }

    def join_tagged(self, address: str, *tags: str) -> None:
        """A device that is nobody's."""
        self.join(address, "tagged-devices", 0, Tags=list(tags))
        self.nodes[address]["UserProfile"] = TAGGED

    def serve(self, target: str, *, funnel: bool = False, mount: str = "/", port: int = 443) -> None:
        """As `tailscale serve --bg` does, or `tailscale funnel`."""
        address = f"{HOST}:{port}"
        self.serve_config = {
            "TCP": {str(port): {"HTTPS": True}},
            "Web": {address: {"Handlers": {mount: {"Proxy": target}}}},
            **({"AllowFunnel": {address: True}} if funnel else {}),
        }

    def start(self) -> None:
        about = {"tailscaled": self}
        routes = [("/localapi/v0/(status|whois|serve-config)", _LocalAPI, about)]
        self._server = HTTPServer(web.Application(routes, log_function=lambda handler: None))
        self._server.add_socket(bind_unix_socket(str(self.socket)))

    async def stop(self) -> None:
        if self.held is not None:
            self.held.set()
        if self._server is not None:
            self._server.stop()
            await self._server.close_all_connections()
        shutil.rmtree(self.directory, ignore_errors=True)

    def status_now(self) -> dict[str, Any]:
        here = ["100.64.0.1", "fd7a:115c:a1e0::1"]
        stopped: dict[str, Any] = {
            "Version": "1.103.0",
            "BackendState": self.state,
            "AuthURL": "",
            "TailscaleIPs": None,
            "Self": {"HostName": "host", "DNSName": "", "TailscaleIPs": None, "CapMap": None},
            "Health": ["Tailscale is stopped."],
            "CertDomains": None,
            "CurrentTailnet": None,
        }
        if self.state != "Running":
            return {**stopped, **self.status}
        capabilities = {
            "https": None,
            "funnel": None,
            "https://tailscale.com/cap/funnel-ports?ports=443,8443,10000": None,
        }
        host = f"host.{self.suffix}"
        return {
            **stopped,
            "TailscaleIPs": here,
            "Self": {"HostName": "host", "DNSName": f"{host}.", "TailscaleIPs": here, "CapMap": capabilities},
            "Health": None,
            "CertDomains": [host],
            "CurrentTailnet": {"Name": self.tailnet, "MagicDNSSuffix": self.suffix, "MagicDNSEnabled": True},
            **self.status,
        }


class _LocalAPI(web.RequestHandler):
    def initialize(self, tailscaled: FakeTailscaled) -> None:
        self._tailscaled = tailscaled

    def compute_etag(self) -> None:
        return None

    async def get(self, what: str) -> None:
        tailscaled, headers = self._tailscaled, self.request.headers
        tailscaled.requests[what] += 1
        if tailscaled.held is not None:
            await tailscaled.held.wait()
        if "Origin" in headers or "Referer" in headers or headers["Host"] != "local-tailscaled.sock":
            self.refuse(403, "invalid localapi request")
        elif tailscaled.forbids:
            self.refuse(403, f"{what} access denied")
        elif tailscaled.answer is not None:
            self.finish(tailscaled.answer)
        elif what == "status":
            self.send(tailscaled.status_now())
        elif what == "serve-config":
            self.send(tailscaled.serve_config)
        else:
            self.whois(self.get_query_argument("addr", ""))

    def whois(self, asked: str) -> None:
        address, _, port = asked.rpartition(":")
        try:
            parsed = ipaddress.ip_address(address.strip("[]"))
            int(port)
        except ValueError:
            self.refuse(400, "invalid 'addr' parameter")
            return
        node = self._tailscaled.nodes.get(str(parsed))
        if node is None:
            self.refuse(404, "no match for IP:port")
        else:
            self.send(node)

    def send(self, answer: Any) -> None:
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(answer, indent="\t"))

    def refuse(self, status: int, text: str) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(text + "\n")
