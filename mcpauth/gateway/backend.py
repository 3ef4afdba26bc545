"""What the gateway asks of a backend, whatever kind it is."""

from collections.abc import AsyncIterator, Callable
from typing import Protocol

from .frames import Frame


class BackendSession(Protocol):
    """One MCP session (legacy era) with a backend."""

    def request(self, frame: Frame) -> AsyncIterator[Frame]:
        """What belongs to the request, in order; last of all the response, with the frame's own id.

        Raises BackendUnavailable when this session is over and nothing was sent: another may be opened.
        """
        ...

    async def notify(self, frame: Frame) -> None:
        """Pass on a notification, or the answer to a request of the backend's."""
        ...

    async def close(self) -> None: ...


class Backend(Protocol):
    name: str

    async def start(self) -> None:
        """Raises BackendUnavailable with a message that names what to change."""
        ...

    async def open(self, listener: Callable[[Frame], None]) -> BackendSession:
        """A new session, not yet initialized; ``listener`` gets the frames that belong to no request."""
        ...

    async def close(self) -> None: ...

    def kill(self) -> None:
        """Whatever still runs ends now: ``close`` took too long."""
        ...
