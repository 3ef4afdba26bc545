"""Plays the host of a vendor: serves client metadata documents and keys, well or badly."""

import asyncio
import base64
import json
import secrets
import warnings
from collections import Counter
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.warnings import InsecureKeyLengthWarning
from tornado import web
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port


class DocumentHost:
    """``documents`` maps a path to what is served there: JSON, or bytes as they are. ``url`` is its origin.

    A test changes what it wants to be different.
    """

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {}
        self.status = 200
        self.headers: dict[str, str] = {"Content-Type": "application/json"}
        self.held: asyncio.Event | None = None  # answers wait for it
        self.asked = asyncio.Event()  # since a test last cleared it
        self.requests: Counter[str] = Counter()
        self.seen: list[dict[str, str]] = []  # the headers of each request
        self.url = ""

    def start(self, address: str = "127.0.0.1", port: int | None = None) -> None:
        app = web.Application([(".*", _Serve, {"host": self})], log_function=lambda handler: None)
        self._server = HTTPServer(app)
        if port is None:
            socket, port = bind_unused_port(address=address)
            self._server.add_socket(socket)
        else:
            self._server.listen(port, address)
        self.port = port
        self.url = f"http://{address}:{port}"

    async def stop(self) -> None:
        if self.held is not None:
            self.held.set()
        self._server.stop()
        await self._server.close_all_connections()

    def publish(self, path: str = "/client.json", **changes: Any) -> str:
        """A document for a client; what is None is left out. Its client_id."""
        client_id = self.url + path
        document = {
            "client_id": client_id,
            "client_name": "Published client",
            "redirect_uris": ["http://127.0.0.1/callback"],
            "token_endpoint_auth_method": "none",
            **changes,
        }
        self.documents[path] = {name: value for name, value in document.items() if value is not None}
        return client_id

    def publish_keys(self, *keys: "ClientKey", path: str = "/jwks.json") -> str:
        self.documents[path] = {"keys": [key.jwk for key in keys]}
        return self.url + path


class _Serve(web.RequestHandler):
    def initialize(self, host: DocumentHost) -> None:
        self._host = host

    def compute_etag(self) -> None:
        return None

    async def get(self) -> None:
        host = self._host
        host.requests[self.request.path] += 1
        host.asked.set()
        host.seen.append(dict(self.request.headers.get_all()))
        if host.held is not None:
            await host.held.wait()
        if self.request.path not in host.documents:
            self.send_error(404)
            return
        body = host.documents[self.request.path]
        self.set_status(host.status)
        self.clear_header("Content-Type")
        for name, value in host.headers.items():
            self.set_header(name, value)
        self.finish(body if isinstance(body, bytes) else json.dumps(body).encode())


class ClientKey:
    """A key pair of a client, and the assertions that it signs."""

    def __init__(self, algorithm: str = "RS256", kid: str | None = None, size: int = 2048) -> None:
        self.algorithm, self.kid = algorithm, kid or secrets.token_hex(4)
        private: Any
        if algorithm == "RS256":
            private = rsa.generate_private_key(public_exponent=65537, key_size=size)
            text = RSAAlgorithm.to_jwk(private.public_key())
        elif algorithm == "ES256":
            private = ec.generate_private_key(ec.SECP256R1())
            text = ECAlgorithm.to_jwk(private.public_key())
        else:
            private = ed25519.Ed25519PrivateKey.generate()
            text = OKPAlgorithm.to_jwk(private.public_key())
        self.private = private
        jwk = {name: value for name, value in json.loads(text).items() if name != "key_ops"}
        self.jwk: dict[str, Any] = {**jwk, "kid": self.kid, "use": "sig"}

    def form(
        self, client_id: str, audience: Any, now: int, *, headers: dict[str, Any] | None = None, **changes: Any
    ) -> dict[str, Any]:
        """The parameters with which a client proves itself; a claim that is None is left out."""
        claims = {
            "iss": client_id,
            "sub": client_id,
            "aud": audience,
            "iat": now,
            "exp": now + 300,
            "jti": secrets.token_hex(8),
            **changes,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        given = {"kid": self.kid, **(headers or {})}
        given = {name: value for name, value in given.items() if value is not None}
        with warnings.catch_warnings():
            # A test may want a weak key.
            warnings.simplefilter("ignore", InsecureKeyLengthWarning)
            text = jwt.encode(claims, self.private, algorithm=self.algorithm, headers=given)
        return {"client_assertion_type": ASSERTION_TYPE, "client_assertion": text}


ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    """A JWT with whatever header, for what no library makes."""

    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    return ".".join([part(json.dumps(header).encode()), part(json.dumps(claims).encode()), part(signature)])
