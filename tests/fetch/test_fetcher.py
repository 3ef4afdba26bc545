"""A host that a stranger names: all its addresses are judged, and only a judged one is connected to."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tornado import web
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

from mcpauth.errors import DocumentError
from mcpauth.fetch import fetcher as fetching
from mcpauth.fetch.fetcher import Fetcher
from tests.fakes.documents import DocumentHost

OWN = "https://own.example"


class Resolver:
    """Answers with one list of addresses after the other, then with the last one."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers, self.asked = list(answers), []

    async def __call__(self, host: str) -> list[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def host(io_loop):
    host = DocumentHost()
    io_loop.run_sync(host.start)
    host.publish()
    yield host
    io_loop.run_sync(host.stop)


async def refusal(fetcher, uri):
    with pytest.raises(DocumentError) as caught:
        await fetcher.fetch(uri)
    fetcher.close()
    return caught.value.reason


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["1.1.1.1", "10.0.0.1"],
        ["10.0.0.1", "1.1.1.1"],
        ["1.1.1.1", "::1"],
        ["2606:4700::1", "fd00::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["2002:7f00:1::1"],
        ["100.100.100.100"],
        ["169.254.169.254"],
        [],
    ],
)
async def test_one_address_that_is_not_public_is_enough_to_refuse(host, addresses):
    resolver = Resolver(addresses)
    said = await refusal(Fetcher(OWN, resolve=resolver), "https://vendor.example/client.json")
    assert "not on the public internet" in said
    assert resolver.asked == ["vendor.example"]
    assert not host.requests


@pytest.mark.parametrize(
    "authority",
    ["127.0.0.1", "[::1]", "10.1.2.3", "[::ffff:127.0.0.1]", "[fe80::1]", "100.64.0.1", "[64:ff9b::a00:1]"],
)
async def test_an_address_in_place_of_a_name_is_judged_too(authority):
    resolver = Resolver(["1.1.1.1"])
    assert "not on the public internet" in await refusal(Fetcher(OWN, resolve=resolver), f"https://{authority}/c")
    assert not resolver.asked


@pytest.mark.parametrize("authority", ["2130706433", "0x7f000001", "127.1", "0177.0.0.1", "localhost"])
async def test_other_ways_to_write_this_computer_are_seen_through(authority):
    assert "not on the public internet" in await refusal(Fetcher(OWN), f"https://{authority}/client.json")


async def unknown(name: str) -> list[str]:
    raise OSError


async def test_the_owner_is_told_which_of_both_it_is():
    for resolve, said in ((unknown, "cannot be looked up"), (Resolver(["192.168.1.9"]), "a private address")):
        with pytest.raises(DocumentError) as refused:
            await Fetcher(OWN, resolve=resolve).fetch("https://printer.internal/c")
        assert said in refused.value.for_owner


async def test_a_name_that_leads_nowhere_looks_like_one_that_leads_inside():
    said = await refusal(Fetcher(OWN, resolve=unknown), "https://printer.internal/c")
    assert said == await refusal(Fetcher(OWN, resolve=Resolver(["192.168.1.9"])), "https://printer.internal/c")


class Names:
    """A name server that knows these."""

    def __init__(self, **names: list[str]) -> None:
        self._names = {name.replace("_", "."): addresses for name, addresses in names.items()}

    async def __call__(self, host: str) -> list[str]:
        return self._names[host]


@pytest.mark.parametrize(
    ("own", "named"),
    [
        (["9.9.9.9"], ["9.9.9.9"]),
        (["149.112.112.112", "9.9.9.9"], ["8.8.8.8", "::ffff:9.9.9.9"]),
        (["2620:fe::fe"], ["2620:fe:0:0::fe"]),
    ],
)
async def test_another_name_of_ours_is_ours_too(own, named):
    fetcher = Fetcher(OWN, resolve=Names(own_example=own, vendor_example=named))
    with pytest.raises(DocumentError, match="not on the public internet") as refused:
        await fetcher.fetch("https://vendor.example/client.json")
    assert "leads to this server" in refused.value.for_owner
    assert "not on the public internet" in await refusal(fetcher, f"https://{_literal(named[-1])}/client.json")


def _literal(address: str) -> str:
    return f"[{address}]" if ":" in address else address


@pytest.mark.parametrize("authority", ["own.example", "OWN.example:8443", "own.example."])
async def test_our_own_host_is_refused(authority):
    resolver = Resolver(["1.1.1.1"])
    assert "own address" in await refusal(Fetcher(OWN, resolve=resolver), f"https://{authority}/client.json")
    assert not resolver.asked


async def test_only_the_port_of_https():
    resolver = Resolver(["1.1.1.1"])
    assert "port 443" in await refusal(Fetcher(OWN, resolve=resolver), "https://vendor.example:8443/client.json")
    assert not resolver.asked
    said = await refusal(Fetcher(OWN, resolve=Resolver(["10.0.0.1"])), "https://vendor.example:443/client.json")
    assert "not on the public internet" in said


@pytest.mark.parametrize("uri", ["http://vendor.example/c", "ftp://vendor.example/c", "file:///etc/passwd"])
async def test_only_https(uri):
    assert "https" in await refusal(Fetcher(OWN, resolve=Resolver(["1.1.1.1"])), uri)


async def test_what_the_name_leads_to_after_it_was_judged_does_not_count(host):
    """DNS rebinding: the second answer is another server on this computer."""
    second = DocumentHost()
    second.start("127.0.0.2", host.port)
    second.documents["/client.json"] = {"rebound": True}
    resolver = Resolver(["127.0.0.1"], ["127.0.0.2"])
    fetcher = Fetcher("http://localhost:1", loopback=True, resolve=resolver)
    fetched = await fetcher.fetch(f"http://vendor.localhost:{host.port}/client.json")
    assert "rebound" not in fetched.body
    assert host.seen[0]["Host"] == f"vendor.localhost:{host.port}"
    assert (len(resolver.asked), sum(second.requests.values())) == (1, 0)
    # Each time anew: nothing of the first answer is kept for the second request.
    assert "rebound" in (await fetcher.fetch(f"http://vendor.localhost:{host.port}/client.json")).body
    fetcher.close()
    await second.stop()


async def test_for_tests_it_is_this_computer_alone(host):
    fetcher = Fetcher("http://localhost:1", loopback=True, resolve=Resolver(["10.0.0.1"]))
    assert (await fetcher.fetch(f"{host.url}/client.json")).body
    assert "not on the public internet" in await refusal(fetcher, "https://vendor.localhost/client.json")
    resolver = Resolver(["127.0.0.1"])
    fetcher = Fetcher("http://localhost:1", loopback=True, resolve=resolver)
    assert "own computer" in await refusal(fetcher, "https://vendor.example/client.json")
    assert not resolver.asked


async def test_a_redirect_is_not_followed(host):
    host.status, host.headers["Location"] = 302, f"{host.url}/elsewhere.json"
    host.documents["/elsewhere.json"] = {}
    assert "redirects" in await refusal(Fetcher("http://localhost:1", loopback=True), f"{host.url}/client.json")
    assert set(host.requests) == {"/client.json"}


async def test_it_has_five_seconds_in_all(host, monkeypatch):
    assert fetching.TIMEOUT == 5
    monkeypatch.setattr(fetching, "TIMEOUT", 0.2)
    host.held = asyncio.Event()
    assert "seconds" in await refusal(Fetcher("http://localhost:1", loopback=True), f"{host.url}/client.json")

    async def forever(name: str) -> list[str]:
        await asyncio.Event().wait()
        return []

    assert "seconds" in await refusal(Fetcher(OWN, resolve=forever), "https://vendor.example/client.json")


async def test_a_host_that_drips_is_given_up_too(monkeypatch):
    monkeypatch.setattr(fetching, "TIMEOUT", 0.3)
    over = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
        gone = asyncio.ensure_future(reader.read())
        while not gone.done():
            writer.write(b" ")
            await asyncio.wait([gone], timeout=0.02)
        writer.close()
        over.set()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    said = await refusal(Fetcher("http://localhost:1", loopback=True), f"http://127.0.0.1:{port}/client.json")
    assert "seconds" in said
    await over.wait()
    server.close()
    await server.wait_closed()


async def test_a_body_of_unknown_length_is_cut_off(host):
    host.documents["/client.json"] = b'{"a": "' + b"x" * (1024 * 1024) + b'"}'
    assert "64 KiB" in await refusal(Fetcher("http://localhost:1", loopback=True), f"{host.url}/client.json")


async def test_so_many_at_a_time(host, monkeypatch):
    monkeypatch.setattr(fetching, "MOST_AT_ONCE", 2)
    host.held = asyncio.Event()
    fetcher = Fetcher("http://localhost:1", loopback=True)
    running = [asyncio.ensure_future(fetcher.fetch(f"{host.url}/client.json")) for _ in range(2)]
    await host.asked.wait()
    with pytest.raises(DocumentError) as caught:
        await fetcher.fetch(f"{host.url}/client.json")
    assert caught.value.status == 503
    host.held.set()
    await asyncio.gather(*running)
    assert (await fetcher.fetch(f"{host.url}/client.json")).body
    fetcher.close()


async def test_the_certificate_is_for_the_name_however_the_address_was_found(tmp_path, monkeypatch):
    """A good certificate of another name does not count, and one for the name does."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vendor.localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("vendor.localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "host.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)

    class Document(web.RequestHandler):
        def get(self) -> None:
            self.set_header("Content-Type", "application/json")
            self.finish("{}")

    socket, port = bind_unused_port()
    server = HTTPServer(web.Application([(".*", Document)], log_function=lambda handler: None), ssl_options=context)
    server.add_socket(socket)
    trusting = ssl.create_default_context(cafile=str(pem))
    fetcher = Fetcher("http://localhost:1", loopback=True, resolve=Resolver(["127.0.0.1"]), tls=trusting)
    assert (await fetcher.fetch(f"https://vendor.localhost:{port}/c")).body == "{}"
    with pytest.raises(DocumentError) as caught:
        await fetcher.fetch(f"https://other.localhost:{port}/c")
    assert caught.value.for_owner == "its host has no valid certificate"
    fetcher.close()
    stranger = Fetcher("http://localhost:1", loopback=True, resolve=Resolver(["127.0.0.1"]))
    said = await refusal(stranger, f"https://vendor.localhost:{port}/c")
    # Nobody learns from here whether somebody is there.
    nobody, unused = bind_unused_port()
    nobody.close()
    stranger = Fetcher("http://localhost:1", loopback=True, resolve=Resolver(["127.0.0.1"]))
    assert said == await refusal(stranger, f"https://vendor.localhost:{unused}/c")
    server.stop()
    await server.close_all_connections()
