"""What one backend has answered to initialize: told again, without starting it, to clients that say the same."""

from typing import NamedTuple, Self

from . import declared, frames
from .bridge import legacized
from .eras import LEGACY, NEWEST_LEGACY
from .frames import Frame
from .modern.caller import normal
from .offer import Offer

# Answers that are remembered, and how much a client may say to get one of them.
MOST, SAID = 32, 4096


class Asked(NamedTuple):
    """What the answer may depend on: all that the client says.

    A server may greet each client by its name. What it says to one is nothing for another.
    """

    version: str
    said: bytes

    @classmethod
    def by(cls, initialize: Frame) -> Self | None:
        """None of one that is not as others are: the backend itself is asked."""
        params = frames.members(initialize.get("params"))
        version = frames.text(params.pop("protocolVersion", None))
        if version is None or "capabilities" not in params or sum(map(len, params.values())) > SAID:
            return None
        # To a version that it does not know, a server answers with its newest.
        return cls(version if version in LEGACY else NEWEST_LEGACY, normal(frames.raw(params)))


class Greetings:
    def __init__(self, backend: str) -> None:
        self._backend = backend
        self._given: dict[Asked, Frame] = {}
        self.vary = False  # it answers now so, now otherwise

    def __len__(self) -> int:
        return len(self._given)

    def find(self, initialize: Frame, offer: Offer) -> Frame | None:
        """The result, when it is known what the backend would say."""
        asked = Asked.by(initialize)
        if self.vary or asked is None:
            return None
        offer = offer.to(declared.by(initialize))
        if offer.greeting is None and offer.modern.discovered is not None:
            # Over the bridge it is made of this anyway.
            return frames.members(legacized.greeting(initialize, self._backend, offer.modern.discovered)["result"])
        # Few servers look at what else a client says of itself: to others they say what they have said to us.
        return self._given.get(asked) or offer.greets(asked.version)

    def keep(self, initialize: Frame, result: Frame) -> None:
        """A client has got this."""
        asked = Asked.by(initialize)
        if asked is not None:
            self._given[asked] = result
            for oldest in list(self._given)[:-MOST]:
                del self._given[oldest]

    def forget(self) -> None:
        self._given.clear()
