"""What an operator can do about clients."""

import logging
import shlex

from .. import log
from ..ambient import Ambient, iso
from ..errors import OAuthError, OperationError, WrongUsage
from ..models.records import Client, ClientApproval
from ..oauth import client_id_url, client_profiles
from ..oauth.client_metadata import read_metadata
from ..oauth.client_name import display_name, visible
from ..oauth.client_registration import ClientRegistration
from ..store.client_approvals import ClientApprovalStore
from ..store.clients import ClientStore
from ..store.grants import GrantStore
from ..store.sessions import SessionStore
from ..store.users import UserStore
from .values import Answer, Operation, end_of, label, seconds
from .waiting import told

logger = logging.getLogger(__name__)

SHORTEST_LIFE, LONGEST_LIFE = 60, 90 * 86400
MOST_BANNERS = 3


class ClientOperations:
    def __init__(
        self,
        *,
        users: UserStore,
        clients: ClientStore,
        approvals: ClientApprovalStore,
        grants: GrantStore,
        sessions: SessionStore,
        registration: ClientRegistration,
        ambient: Ambient,
    ) -> None:
        self._users, self._clients, self._approvals, self._grants = users, clients, approvals, grants
        self._sessions, self._registration, self._ambient = sessions, registration, ambient
        self.by_name: dict[str, Operation] = {
            "client list": self.client_list,
            "client add": self.client_add,
            "client remove": self.client_remove,
            "client approve": self.client_approve,
            "client refuse": self.client_refuse,
            "client rename": self.client_rename,
            "client pause": self.client_pause,
            "client resume": self.client_resume,
            "client lifetime": self.client_lifetime,
            "client expire": self.client_expire,
            "client end": self.client_end,
        }

    async def client_list(self) -> list[Answer]:
        now = self._ambient.now()
        live = [one.grant.client_id for one in self._sessions.list_live(now) if one.grant is not None]
        decided = {one.client_id: one for one in await self._approvals.list_undecided_or_refused()}
        clients = await self._clients.list_all()
        known = {one.client_id for one in clients}
        # One that publishes what it is has no registration before it is connected for the first time.
        unknown = [one for one in decided.values() if one.client_id not in known]
        return [_client(one, decided.get(one.client_id), live.count(one.client_id)) for one in clients] + [
            _not_connected(one) for one in unknown
        ]

    async def client_add(self, name: str, redirect_uris: list[str], public: bool) -> Answer:
        given = {
            "client_name": name,
            "redirect_uris": redirect_uris,
            "token_endpoint_auth_method": "none" if public else "client_secret_basic",
        }
        try:
            metadata = read_metadata(given)
        except OAuthError as error:
            raise WrongUsage(error.description) from None
        client, secret, _ = await self._registration.add(metadata, preregistered=True)
        logger.info("client_added", extra=log.fields(client_id=client.client_id, name=name))
        return {"client_id": client.client_id, **({"client_secret": secret} if secret else {})}

    async def client_remove(self, client_id: str) -> Answer:
        ended = await self._grants.end(self._ambient.now(), "client_removed", client_id=client_id)
        if not await self._clients.remove(client_id):
            raise _no_client(client_id)
        logger.info("client_removed", extra=log.fields(client_id=client_id))
        return {"client_id": client_id, "grants_ended": ended}

    async def client_approve(self, client_id: str) -> Answer:
        return await self._decide(client_id, "approved")

    async def client_refuse(self, client_id: str) -> Answer:
        """It gets no further than a page that says so; what it has ends."""
        answer = await self._decide(client_id, "refused")
        await self._grants.end(self._ambient.now(), "client_refused", client_id=client_id)
        return answer

    async def _decide(self, client_id: str, decision: str) -> Answer:
        client, approval = await self._clients.find(client_id), await self._approvals.find(client_id)
        if client is None and approval is None and not _publishes(client_id):
            raise _no_client(client_id)
        name = display_name(client) if client else approval.client_name if approval else client_id
        await self._approvals.decide(client_id, name, decision, self._ambient.now())
        logger.info("client_decided", extra=log.fields(client_id=client_id, decision=decision))
        return {"client_id": client_id, "name": name, "decision": decision}

    async def client_rename(self, client_id: str, name: str) -> Answer:
        if not await self._clients.set_label(client_id, label(name)):
            raise _no_client(client_id)
        return {"client_id": client_id, "name": name}

    async def client_pause(self, client_id: str) -> Answer:
        """It keeps what it has, and can use none of it until it is resumed."""
        now = self._ambient.now()
        if not await self._grants.pause_client(client_id, now):
            raise _no_client(client_id)
        logger.info("client_paused", extra=log.fields(client_id=client_id))
        return {"client_id": client_id, "paused_at": iso(now)}

    async def client_resume(self, client_id: str) -> Answer:
        if not await self._grants.resume_client(client_id, self._ambient.now()):
            raise _no_client(client_id)
        logger.info("client_resumed", extra=log.fields(client_id=client_id))
        return {"client_id": client_id, "paused_at": None}

    async def client_lifetime(self, client_id: str, lifetime: str) -> Answer:
        """How long its access tokens are good from now on; ``default`` is as for all others."""
        ttl = None if lifetime == "default" else seconds(lifetime)
        if ttl is not None and not SHORTEST_LIFE <= ttl <= LONGEST_LIFE:
            raise WrongUsage("an access token lives for one minute at least, and 90 days at most")
        if not await self._clients.set_access_token_ttl(client_id, ttl):
            raise _no_client(client_id)
        logger.info("client_lifetime_set", extra=log.fields(client_id=client_id, ttl=ttl))
        return {"client_id": client_id, "access_token_ttl": ttl}

    async def client_expire(self, client_id: str, after: str) -> Answer:
        if await self._clients.find(client_id) is None:
            raise _no_client(client_id)
        ends_at = end_of(after, self._ambient.now())
        count = await self._grants.set_end(ends_at, client_id=client_id)
        return {"client_id": client_id, "connections": count, "ends_at": iso(ends_at)}

    async def client_end(self, client_id: str) -> Answer:
        """Every connection of it ends; it stays registered."""
        if await self._clients.find(client_id) is None:
            raise _no_client(client_id)
        ended = await self._grants.end(self._ambient.now(), "ended_by_owner", client_id=client_id)
        logger.info("client_ended", extra=log.fields(client_id=client_id, count=ended))
        return {"client_id": client_id, "grants_ended": ended}

    async def waiting(self) -> list[Answer]:
        """Clients that wait for the owner's yes."""
        found = []
        for one in await self._approvals.list_waiting():
            user = await self._users.find(one.asked_by) if one.asked_by else None
            found.append(
                {
                    "client_id": one.client_id,
                    "name": visible(one.client_name) or one.client_id,
                    "hosts": one.hosts,
                    "asked_by": user.name if user else None,
                    "asked_at": iso(one.asked_at),
                }
            )
        return found

    async def banners(self) -> list[str]:
        """The same, in words for the owner's pages."""
        waiting = await self.waiting()
        lines = [
            f"{told(one)} To let it in: python server.py client approve {shlex.quote(one['client_id'])}"
            for one in waiting[:MOST_BANNERS]
        ]
        if len(waiting) > MOST_BANNERS:
            lines.append(f"{len(waiting) - MOST_BANNERS} more apps wait: python server.py client list")
        return lines


def _client(client: Client, approval: ClientApproval | None, sessions: int) -> Answer:
    metadata = client.metadata
    profile = client_profiles.of(client.client_id, metadata.redirect_uris)
    guessed = client_profiles.guess(metadata.software_id, "")
    state = "paused" if client.paused_at is not None else ""
    if approval is not None:
        state = approval.decision or "waiting"
    return {
        "client_id": client.client_id,
        "name": display_name(client),
        "profile": profile.profile_id if profile else None,
        "looks_like": guessed.profile_id if guessed else None,
        "state": state or "ok",
        "kind": "public" if "none" in metadata.auth_methods else "confidential",
        "registered": "by the owner"
        if client.preregistered
        else "by its document"
        if client_id_url.is_url(client.client_id)
        else "by itself",
        "redirect_uris": list(metadata.redirect_uris),
        "access_token_ttl": client.access_token_ttl,
        "sessions": sessions,
        "created_at": iso(client.created_at),
        "used_at": iso(client.used_at),
    }


def _not_connected(approval: ClientApproval) -> Answer:
    profile = client_profiles.of(approval.client_id, ())
    return {
        "client_id": approval.client_id,
        "name": visible(approval.client_name) or approval.client_id,
        "profile": profile.profile_id if profile else None,
        "looks_like": None,
        "state": approval.decision or "waiting",
        "kind": None,
        "registered": None,
        "redirect_uris": [],
        "access_token_ttl": None,
        "sessions": 0,
        "created_at": iso(approval.asked_at),
        "used_at": None,
    }


def _publishes(client_id: str) -> bool:
    return client_id_url.is_url(client_id) and client_id_url.problem(client_id) is None


def _no_client(client_id: str) -> OperationError:
    return OperationError(f"there is no client {client_id}; see: client list")
