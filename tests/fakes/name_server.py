"""Plays a name server of the internet (DNS over UDP)."""

import asyncio

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


class FakeNameServer(asyncio.DatagramProtocol):
    """``names`` maps a name to its addresses; others are not known. Silent when ``silent``."""

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {}
        self.silent = self.refuses = False
        self.asked: list[str] = []
        self.address = ""

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, ("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._transport.get_extra_info('sockname')[1]}"

    async def stop(self) -> None:
        self._transport.close()

    def datagram_received(self, data: bytes, sender: tuple[str, int]) -> None:
        asked = dns.message.from_wire(data)
        question = asked.question[0]
        name = str(question.name).rstrip(".")
        self.asked.append(name)
        if self.silent:
            return
        answer = dns.message.make_response(asked)
        answer.flags |= dns.flags.RA
        if self.refuses:
            answer.set_rcode(dns.rcode.REFUSED)
        elif name not in self.names:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        kind = "AAAA" if question.rdtype == dns.rdatatype.AAAA else "A"
        found = [one for one in self.names.get(name, []) if (":" in one) == (kind == "AAAA")]
        if found:
            answer.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *found))
        self._transport.sendto(answer.to_wire(), sender)
