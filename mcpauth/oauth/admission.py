"""Which of the people that a provider names may come in, and as what."""

import logging
from collections.abc import Sequence
from fnmatch import fnmatchcase

from .. import log
from ..ambient import Ambient
from ..errors import PageError
from ..models.records import Identity, Role, User
from ..store.users import UserStore
from .setup import Setup

logger = logging.getLogger(__name__)

MOST_PENDING = 100


class Admission:
    def __init__(
        self, users: UserStore, setup: Setup, allowed_users: Sequence[str], auto_create_users: bool, ambient: Ambient
    ) -> None:
        self._users, self._setup, self._ambient = users, setup, ambient
        self._allowed = [entry.strip().lower() for entry in allowed_users]
        self._auto_create = auto_create_users

    async def admit(self, identity: Identity, setup_code_hash: str) -> User:
        """The user that this identity is, made now if need be. Raises PageError for who may not come in.

        ``setup_code_hash`` is of the setup code that the person had shown, empty for none.
        """
        with_setup_code = self._setup.is_current(setup_code_hash)
        now = self._ambient.now()
        user = await self._users.find_by_identity(identity)
        allowed = await self._is_allowed(identity)
        owns = self._users.owners == 0 and (with_setup_code or (allowed and self._is_first(identity)))
        if user is not None:
            if allowed and (owns or user.role == "pending"):
                # Who was renamed while waiting comes in under the new login, which is theirs now.
                await self._users.pin_login(identity)
            if owns and await self._users.promote_to_owner(user.user_id, now):
                return user.model_copy(update={"role": "owner"})
            # Not whom the owner made pending: only who has waited since they came.
            if user.role == "pending" and allowed and user.role_set_at == user.created_at:
                await self._users.set_role(user.user_id, "member", now)
                return user.model_copy(update={"role": "member"})
            return user
        user_id = self._ambient.identifier()
        if owns:
            owner = await self._users.add_owner(user_id, identity.login, now, identity=identity)
            if owner is not None:
                logger.info("owner_made", extra=log.fields(user_id=user_id, provider=identity.provider))
                return owner
        if not allowed and not self._auto_create:
            raise PageError(403, "You cannot sign in here", "The owner of this server has not invited this account.")
        role: Role = "member" if allowed else "pending"
        most = None if allowed else MOST_PENDING
        added = await self._users.add(user_id, identity.login, role, now, identity=identity, most_pending=most)
        if added is None:
            raise PageError(
                403, "Too many people are waiting", "The owner has to approve or remove some of them first."
            )
        about = log.fields(user_id=user_id, name=added.name, role=role, provider=identity.provider)
        logger.info("user_added", extra=about)
        return added

    def lists(self, identity: Identity) -> bool:
        """Whether an entry of ALLOWED_USERS fits: who is removed would come in again."""
        name = _listed(identity)
        return name is not None and any(fnmatchcase(name, entry) for entry in self._allowed)

    def _is_first(self, identity: Identity) -> bool:
        """Only an exact first entry can make an owner: a glob could be matched by a stranger."""
        return bool(self._allowed) and self._allowed[0] == _listed(identity)

    async def _is_allowed(self, identity: Identity) -> bool:
        if not self.lists(identity):
            return False
        # The first match pins the provider's id: who takes over a login later is somebody else.
        return not await self._users.login_is_linked(identity)


def _listed(identity: Identity) -> str | None:
    """How an entry names it. None for a login that is not ASCII: in lower case it may be somebody else's."""
    return f"{identity.provider}:{identity.login}".lower() if identity.login.isascii() else None
