"""Who a user is, for themself: what the provider said of them."""

from typing import NamedTuple

from ..errors import InvalidToken
from ..models.records import Role
from ..store.users import UserStore


class Profile(NamedTuple):
    name: str
    login: str
    provider: str
    role: Role
    email: str | None
    picture: str | None


class Profiles:
    def __init__(self, users: UserStore) -> None:
        self._users = users

    async def of(self, user_id: str) -> Profile:
        """Raises InvalidToken when the user was removed meanwhile."""
        user = await self._users.find(user_id)
        if user is None:
            raise InvalidToken("the user of this access token was removed")
        identities = await self._users.identities(user_id)
        first = identities[0] if identities else None
        return Profile(
            name=user.name,
            login=first.login if first else user.name,
            provider=first.provider if first else "password",
            role=user.role,
            email=first.email if first else None,
            picture=first.picture if first else None,
        )
