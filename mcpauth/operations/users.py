"""What an operator can do about people."""

import logging

from .. import log
from ..ambient import Ambient, iso
from ..errors import OperationError, WrongUsage
from ..identity import password as password_rules
from ..identity.password import Passwords
from ..models.records import Role
from ..oauth.admission import Admission
from ..oauth.setup import name_problem
from ..store.sessions import SessionStore
from ..store.users import UserStore
from .values import Answer, Operation, find_user

logger = logging.getLogger(__name__)


class UserOperations:
    def __init__(
        self, *, users: UserStore, sessions: SessionStore, passwords: Passwords, admission: Admission, ambient: Ambient
    ) -> None:
        self._users, self._sessions = users, sessions
        self._passwords, self._admission, self._ambient = passwords, admission, ambient
        self.by_name: dict[str, Operation] = {
            "user list": self.user_list,
            "user add": self.user_add,
            "user approve": self.user_approve,
            "user remove": self.user_remove,
            "user role": self.user_role,
            "user password": self.user_password,
        }

    async def user_list(self) -> list[Answer]:
        now = self._ambient.now()
        return [
            {
                "name": one.user.name,
                "role": one.user.role,
                "signs_in_with": [
                    *(["password"] if one.has_password else []),
                    *(f"{identity.provider}:{identity.login}" for identity in one.identities),
                ],
                "sessions": len(self._sessions.list_live(now, one.user.user_id)),
                "created_at": iso(one.user.created_at),
                "user_id": one.user.user_id,
            }
            for one in await self._users.list_all()
        ]

    async def user_add(self, name: str, role: Role, password: str) -> Answer:
        if problem := name_problem(name) or password_rules.problem(password):
            raise WrongUsage(problem)
        if role not in ("owner", "member"):
            raise WrongUsage("the role must be owner or member")
        password_hash = await self._passwords.hash(password)
        user_id, now = self._ambient.identifier(), self._ambient.now()
        user = await self._users.add(user_id, name, role, now, password_hash=password_hash)
        if user is None:
            raise OperationError(f"there is a user {name} already; give them another password with: user password")
        logger.info("user_added", extra=log.fields(user_id=user_id, name=name, role=role))
        return {"name": user.name, "role": user.role, "user_id": user.user_id}

    async def user_approve(self, name: str) -> Answer:
        user = await find_user(self._users, name)
        if user.role != "pending":
            raise OperationError(f"{user.name} is not waiting for approval: the role is {user.role}")
        return await self.user_role(name, "member")

    async def user_role(self, name: str, role: Role) -> Answer:
        user = await find_user(self._users, name)
        if role not in ("owner", "member", "pending"):
            raise WrongUsage("the role must be owner, member or pending")
        if not await self._users.set_role(user.user_id, role, self._ambient.now()):
            raise OperationError(f"{user.name} is the last owner; make somebody else an owner first")
        logger.info("user_role_set", extra=log.fields(user_id=user.user_id, role=role))
        return {"name": user.name, "role": role, "user_id": user.user_id}

    async def user_remove(self, name: str) -> Answer:
        user = await find_user(self._users, name)
        listed = [one for one in await self._users.identities(user.user_id) if self._admission.lists(one)]
        if not await self._users.remove(user.user_id, self._ambient.now()):
            raise OperationError(f"{user.name} is the last owner; make somebody else an owner first")
        logger.info("user_removed", extra=log.fields(user_id=user.user_id))
        return {
            "name": user.name,
            "user_id": user.user_id,
            "still_allowed": [f"{one.provider}:{one.login}" for one in listed],
        }

    async def user_password(self, name: str, password: str) -> Answer:
        """A new password; every browser session ends, because whoever had the old one may be in there."""
        user = await find_user(self._users, name)
        if problem := password_rules.problem(password):
            raise WrongUsage(problem)
        await self._users.set_password(user.user_id, await self._passwords.hash(password), self._ambient.now())
        logger.info("password_set", extra=log.fields(user_id=user.user_id))
        return {"name": user.name, "user_id": user.user_id}
