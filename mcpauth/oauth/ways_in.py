"""Which ways to sign in there are at this moment."""

from collections.abc import Mapping, Sequence

from ..identity.provider import Provider
from ..identity.tailscale import Tailscale
from ..store.users import UserStore

NAMES = {"github": "GitHub", "tailscale": "Tailscale", "password": "Password"}


class WaysIn:
    """``trusted`` empty means all; a password counts while somebody has one, or nothing else is there.

    ``providers`` are those that the browser is sent to; Tailscale is none of them.
    """

    def __init__(
        self, users: UserStore, providers: Mapping[str, Provider], tailscale: Tailscale | None, trusted: Sequence[str]
    ) -> None:
        self._users, self._tailscale, self._trusted = users, tailscale, trusted
        self._enabled = providers
        self.providers = [one for one in providers.values() if not trusted or one.id in trusted]

    @property
    def password(self) -> bool:
        return self._has_password() and self.trusts_passwords

    @property
    def trusts_passwords(self) -> bool:
        return not self._trusted or "password" in self._trusted

    def _has_password(self) -> bool:
        return self._users.with_password > 0 or not (self._enabled or self._has_tailscale())

    @property
    def tailscale(self) -> bool:
        """Whether a device of the tailnet may sign its owner in."""
        return self._has_tailscale() and (not self._trusted or "tailscale" in self._trusted)

    def _has_tailscale(self) -> bool:
        return self._tailscale is not None and self._tailscale.available

    @property
    def only_provider(self) -> str | None:
        """The one provider, when there is no other way for somebody whom Tailscale does not name."""
        return self.providers[0].id if len(self.providers) == 1 and not self.password else None

    @property
    def only_tailscale(self) -> bool:
        return self.tailscale and not self.providers and not self.password

    def available(self) -> list[str]:
        tailscale = ["tailscale"] if self._has_tailscale() else []
        return [*self._enabled, *tailscale, *(["password"] if self._has_password() else [])]

    def usable(self) -> list[str]:
        tailscale = ["tailscale"] if self.tailscale else []
        return [*(one.id for one in self.providers), *tailscale, *(["password"] if self.password else [])]

    @property
    def usable_now(self) -> bool:
        """Whether anybody could sign in: not with passwords alone while nobody has one."""
        return bool(self.providers) or self.tailscale or (self.password and self._users.with_password > 0)
