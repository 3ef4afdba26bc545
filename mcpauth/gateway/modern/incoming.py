"""What a modern message must be before anything is done with it."""

from ...errors import InvalidMessage, UnknownMethod
from .. import frames
from ..frames import Frame
from . import envelope, headers
from .envelope import Envelope
from .headers import Headers

# Of the legacy era. A backend of both eras might answer them after all, and a proxy must not depend on that.
REMOVED = {"initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"}


def read(frame: Frame, given: Headers, versions: list[str]) -> tuple[str, Envelope] | None:
    """A request's method and envelope; None of a notification: there is none that a client of this era has to send.

    Raises what stands against it.
    """
    method = frames.text(frame.get("method"))
    if method is None:
        raise InvalidMessage("the message is no request and no notification")
    if "id" not in frame:
        return None
    about = envelope.read(frame)
    headers.check(given, method, about)
    about.require(versions)
    if method in REMOVED:
        raise UnknownMethod(f"{method} is not of this revision of MCP")
    about.headers = given.others()
    return method, about
