"""What the gateway asks of a backend, whatever kind it is."""

from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from ..errors import GatewayError
from .frames import Frame
from .modern.caller import Caller
from .modern.parameters import ByTool

# To whoever waits in an MCP session that its client, or its grant, has ended.
ENDED = "the MCP session has ended"
# To whoever asks a session of a backend that another has taken the place of.
RETIRED = "its entry in mcp.json has changed"
# To whoever waits for one that ends together with us.
STOPPING = "mcpauth is stopping; try again shortly"
# Why a call has no answer when the way over to a server of the other era is closed.
LEFT = "mcpauth is stopping, or the server has changed; try again shortly"


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

    async def close(self, reason: str = ENDED) -> None:
        """Whoever waits gets ``reason``."""
        ...

    @property
    def runs(self) -> bool:
        """False where the next request would start a process."""
        ...

    @property
    def serves(self) -> bool:
        """False where another has to be opened."""
        ...

    def client_is_away(self) -> None:
        """For so long that neither what it follows nor what it was asked is a reason to keep a process."""
        ...


class ModernSession(Protocol):
    """A backend in the modern era; others may be using it at the same time."""

    def request(self, frame: Frame) -> AsyncIterator[Frame]:
        """As of BackendSession; nothing but notifications comes before the response."""
        ...

    def cancel(self, answers: Any, error: GatewayError) -> None:
        """Nobody wants these ``answers`` any more: who still reads them gets ``error``, the backend may stop."""
        ...


class Backend(Protocol):
    name: str
    legacy_only: bool  # it is not asked for the modern era
    starts_processes: bool  # a session costs one, and is begun only when it is needed
    idle_stop: int  # seconds
    announces: bool  # ``on_changed`` hears of every change, so that nobody has to listen for that

    async def start(self) -> None:
        """Raises BackendUnavailable with a message that names what to change."""
        ...

    def on_changed(self, tell: Callable[[], None]) -> None:
        """``tell`` is called when its lists have changed and no session is told, or may have while nothing ran."""
        ...

    def repeat(self, parameters: ByTool) -> None:
        """Those arguments, by tool, are sent in headers as well, where there are headers."""
        ...

    async def open(self, listener: Callable[[Frame], None], caller: Caller | None = None) -> BackendSession:
        """A new session, without initialize and of no era yet; ``listener`` gets what belongs to no request.

        Of a ``caller``, whose user may have other sessions with it; None only asks what it offers.
        """
        ...

    async def join(self, caller: Caller) -> ModernSession:
        """For a request of a modern caller, to be sent at once: a session that waits is soon idle.

        Raises BackendUnavailable of one that is retired; what has joined it before may still ask.
        """
        ...

    def runs(self, caller: Caller) -> bool:
        """False where a request of the modern caller would start a process."""
        ...

    @property
    def last_line(self) -> str:
        """What the program that is asked what it offers wrote last on stderr, or the last that was."""
        ...

    @property
    def busy(self) -> bool:
        """Whether somebody waits for an answer."""
        ...

    @property
    def proven(self) -> bool:
        """Whether a process of it runs and has answered, so that it works, whatever becomes of a new one."""
        ...

    def retire(self) -> None:
        """Another takes its place: who waits gets an answer, and no session takes a new request."""
        ...

    def stop_idle(self) -> None:
        """End what runs for modern callers and was not used for long."""
        ...

    def end_grant(self, grant_id: str) -> None:
        """End what runs for this grant's modern callers alone."""
        ...

    async def close(self) -> None: ...

    def kill(self) -> None:
        """Whatever still runs ends now: ``close`` took too long."""
        ...
