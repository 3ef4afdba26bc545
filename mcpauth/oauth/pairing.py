"""Which clients get as far as the consent page: everyone, those that are known, or those that the owner approved."""

import logging
import shlex
from collections.abc import Iterable
from typing import Literal

from .. import log
from ..ambient import Ambient
from ..errors import AwaitingOwner, InvalidRedirectURI, PageError
from ..models.records import Client, ClientMetadata, User
from ..store.client_approvals import ClientApprovalStore
from . import client_profiles, redirect_uri

logger = logging.getLogger(__name__)

Mode = Literal["open", "known", "approve"]

MOST_WAITING, MOST_OF_ONE = 100, 10
LONGEST_HOSTS = 300


class Pairing:
    def __init__(self, mode: Mode, approvals: ClientApprovalStore, ambient: Ambient) -> None:
        self._mode, self._approvals, self._ambient = mode, approvals, ambient

    def check_registration(self, metadata: ClientMetadata) -> None:
        """Raises InvalidRedirectURI where only known clients are taken and this can be none of them."""
        if self._mode == "known" and not any(_is_known("", uri) for uri in metadata.redirect_uris):
            raise InvalidRedirectURI(
                "this server takes known clients only, and none of redirect_uris is one of theirs; "
                "its owner can register others with: client add"
            )

    async def check(self, client: Client, uri: str) -> None:
        """Before anybody signs in. Raises PageError for a client that gets no further."""
        if client.paused_at is not None:
            raise PageError(
                403, "This app is paused", "The owner of this server has to resume it first.", "access_denied"
            )
        approval = await self._approvals.find(client.client_id)
        decision = approval.decision if approval else None
        if decision == "refused":
            raise PageError(
                403, "This app may not connect", "The owner of this server has refused it.", "access_denied"
            )
        trusted = client.preregistered or decision == "approved" or _is_known(client.client_id, uri)
        if self._mode == "known" and not trusted:
            logger.info("client_not_known", extra=log.bounded(client_id=client.client_id))
            raise PageError(
                403,
                "This server takes known apps only",
                "This one is not among them. If you are the owner, and want to let it in: "
                f"python server.py client approve {shlex.quote(client.client_id)}",
                "access_denied",
            )

    async def needs_approval(self, client: Client, user: User) -> bool:
        """Whether the yes of ``user``, an owner, approves the client too.

        Raises AwaitingOwner for everybody else: the client waits from now on. One that is known for certain, by
        every address that it could use, does not wait.
        """
        certain = client_profiles.of(client.client_id, client.metadata.redirect_uris)
        if self._mode != "approve" or client.preregistered or certain is not None:
            return False
        approval = await self._approvals.find(client.client_id)
        if approval is not None and approval.decision == "approved":
            return False
        if user.role == "owner":
            return True
        if approval is None:
            approval = await self._approvals.ask(
                client.client_id,
                client.name,
                _hosts(client.metadata.redirect_uris),
                user.user_id,
                self._ambient.now(),
                MOST_WAITING,
                MOST_OF_ONE,
            )
            if approval is None:
                raise PageError(403, "Too many apps are waiting", "The owner has to decide on some of them first.")
            logger.info("client_waits", extra=log.bounded(client_id=client.client_id, user_id=user.user_id))
        raise AwaitingOwner()


def _is_known(client_id: str, uri: str) -> bool:
    return client_profiles.fits(client_id, uri, loopback=redirect_uri.is_loopback(uri))


def _hosts(uris: Iterable[str]) -> str:
    """Where the answers can go, for the owner to read."""
    text = ", ".join(dict.fromkeys(map(redirect_uri.host, uris)))
    return text if len(text) <= LONGEST_HOSTS else text[: LONGEST_HOSTS - 1] + "…"
