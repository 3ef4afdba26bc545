"""Sign-in with Tailscale identity: tailscaled says whose device a request comes from."""

import asyncio
import logging
from typing import Protocol

from .. import log
from ..errors import IdentityError, NotOnTailnet, TailscaleError
from ..models.records import Identity
from ..models.tailscale import Status, Visitor, Whois

logger = logging.getLogger(__name__)

LONGEST_LOGIN = 254

ELSEWHERE = "Open this page on a device of your own that is in the tailnet, or choose another way to sign in."
TRY_AGAIN = "Tailscale does not say who you are at the moment. Try again, or choose another way to sign in."


class LocalAPI(Protocol):
    """What is asked of tailscaled. Each may raise a TailscaleError."""

    async def status(self) -> Status: ...

    async def whois(self, address: str) -> Whois | None: ...

    def uid(self) -> int: ...


class Tailscale:
    """``available`` once tailscaled was found running; ``found`` says in words what was found."""

    id = "tailscale"
    name = "Tailscale"

    def __init__(self, api: LocalAPI) -> None:
        self._api = api
        self.available, self.found = False, "not looked for yet"

    async def look(self) -> None:
        """Find out whether tailscaled is there. Once found it counts as available: it may come and go."""
        try:
            status = await self._api.status()
            found = f"{status.tailnet} ({status.dns_name})" if status.running else f"it is {status.backend_state}"
            self.available = status.running
        except TailscaleError as error:
            found = str(error)
        if found != self.found:
            self.found = found
            logger.info("tailscale_found" if self.available else "tailscale_not_usable", extra=log.fields(found=found))

    async def identify(self, visitor: Visitor) -> Identity:
        """Who sits at the device that the request came from.

        The headers alone prove nothing: whoever reaches the socket can write them. tailscaled itself must have sent
        them, and must say the same of the address when it is asked. Raises IdentityError.
        """
        if visitor.funnel:
            raise NotOnTailnet("the request came through Funnel", ELSEWHERE)
        if not visitor.login:
            raise NotOnTailnet("no identity headers: a tagged device, or this machine itself", ELSEWHERE)
        if not visitor.plain:
            raise IdentityError("the headers are not as tailscaled writes them", ELSEWHERE)
        try:
            if visitor.uid is None or visitor.uid != self._api.uid():
                raise IdentityError("the request was not sent by the user that tailscaled runs as", ELSEWHERE)
            status, known = await asyncio.gather(self._api.status(), self._api.whois(visitor.address))
        except TailscaleError as error:
            raise IdentityError(str(error), TRY_AGAIN) from None
        except ValueError:
            raise IdentityError("X-Forwarded-For is no address", ELSEWHERE) from None
        if known is None:
            raise IdentityError("tailscaled does not know the address", ELSEWHERE)
        return self._judge(visitor, status, known)

    def _judge(self, visitor: Visitor, status: Status, known: Whois) -> Identity:
        if known.tags:
            raise IdentityError("the device is tagged, so it is nobody's", ELSEWHERE)
        if known.login != visitor.login:
            raise IdentityError("tailscaled names another person for the address than the headers do", ELSEWHERE)
        # Somebody whom the machine was shared with has a login of another tailnet, which may equal one of ours.
        if known.sharee or not status.magic_dns_suffix or not known.node_name.endswith(f".{status.magic_dns_suffix}"):
            raise IdentityError("the device belongs to another tailnet", ELSEWHERE)
        if known.user_id <= 0 or not status.tailnet or not _is_login(known.login):
            raise IdentityError("the answer of tailscaled names no person", TRY_AGAIN)
        return Identity(
            provider=self.id,
            # A login can be given to somebody else; the number is only good within its tailnet.
            provider_id=f"{known.user_id}@{status.tailnet}",
            login=known.login,
            picture=known.picture if known.picture.startswith("https://") else None,
        )


def _is_login(login: str) -> bool:
    return 0 < len(login) <= LONGEST_LOGIN and login.isprintable()
