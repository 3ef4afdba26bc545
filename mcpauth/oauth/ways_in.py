"""Which ways to sign in there are at this moment."""

from collections.abc import Mapping, Sequence

from ..identity.provider import Provider
from ..store.users import UserStore

NAMES = {"github": "GitHub", "password": "Password"}


class WaysIn:
    """``trusted`` empty means all; a password counts while somebody has one, or nothing else is there."""

    def __init__(self, users: UserStore, providers: Mapping[str, Provider], trusted: Sequence[str]) -> None:
        self._users, self._trusted = users, trusted
        self._enabled = providers
        self.providers = [one for one in providers.values() if not trusted or one.id in trusted]

    @property
    def password(self) -> bool:
        return self._has_password() and self.trusts_passwords

    @property
    def trusts_passwords(self) -> bool:
        return not self._trusted or "password" in self._trusted

    def _has_password(self) -> bool:
        return self._users.with_password > 0 or not self._enabled

    @property
    def only_provider(self) -> str | None:
        """The one provider, when there is no other way."""
        return self.providers[0].id if len(self.providers) == 1 and not self.password else None

    def available(self) -> list[str]:
        return [*self._enabled, *(["password"] if self._has_password() else [])]

    def usable(self) -> list[str]:
        return [*(one.id for one in self.providers), *(["password"] if self.password else [])]

    @property
    def usable_now(self) -> bool:
        """Whether anybody could sign in: not with passwords alone while nobody has one."""
        return bool(self.providers) or (self.password and self._users.with_password > 0)
