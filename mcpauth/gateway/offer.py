"""What a backend said of itself and of what it has, in either era; and to whom."""

from collections.abc import KeysView, Mapping, Sequence

import msgspec

from . import declared, eras, frames, handshake
from .frames import Frame
from .listing import KINDS, Kind, Listing
from .modern import parameters
from .modern.parameters import Parameter


class ModernOffer:
    """What a backend offers in the modern era; ``parameters`` are those that headers repeat, by tool.

    ``discovered`` is what it said to server/discover; None of one that was not asked in this era.
    """

    def __init__(self, versions: Sequence[str], listing: Listing, discovered: Frame | None = None) -> None:
        self.versions, self.listing, self.discovered = list(versions), listing, discovered
        self.tools = listing.tools
        self.parameters: Mapping[str, tuple[Parameter, ...]] = {
            tool.name: found for tool in listing.tools.values() if (found := parameters.declared(tool.definition))
        }


class Offer:
    """What a backend said of itself. Without a ``greeting`` it speaks the modern era only.

    ``listing`` is as the older era has it, where the backend speaks it. To clients of the era that it does not
    speak it offers the same, over a bridge; that, and what is common to all servers, is ``without_tasks``.
    """

    def __init__(self, greeting: Frame | None, listing: Listing, modern: ModernOffer | None) -> None:
        self.greeting, self.listing = greeting, listing
        self.without_tasks = listing.without_tasks()
        self.modern = ModernOffer(eras.MODERN, self.without_tasks) if modern is None else modern
        self.tools = listing.tools
        self.sides = self, self  # what it is to one that declares everything, and to one that declares nothing
        self.certain = True  # False where nobody knows what it says of itself to others
        self._keys = {kind: listing.definitions[kind] | self.modern.listing.definitions[kind] for kind in KINDS}

    @property
    def differs(self) -> bool:
        """Whether it is not the same to all clients."""
        return self.sides[0] is not self.sides[1]

    def to(self, capabilities: msgspec.Raw) -> "Offer":
        """As it is to a client that declares this."""
        if not self.differs:
            return self
        match declared.everything(capabilities):
            case True:
                return self.sides[0]
            case False:
                return self.sides[1]
        return self

    @property
    def of_both(self) -> bool:
        """Whether it speaks either era itself."""
        return self.greeting is not None and self.modern.discovered is not None

    @property
    def server(self) -> msgspec.Raw | None:
        """What it says of itself."""
        if self.modern.discovered is not None:
            return frames.members(self.modern.discovered.get("_meta")).get(eras.SERVER)
        return None if self.greeting is None else self.greeting.get("serverInfo")

    def greets(self, version: str) -> Frame | None:
        """What it says to initialize, where that is known: we asked for this version, or agreed to it."""
        if self.greeting is None or not self.certain:
            return None
        agreed = frames.text(self.greeting.get("protocolVersion"))
        return self.greeting if version in (eras.NEWEST_LEGACY, agreed) else None

    def kinds(self) -> frozenset[Kind]:
        """Those of which there is something, in either era."""
        return self.listing.kinds() | self.modern.listing.kinds()

    def keys(self, kind: Kind) -> KeysView[str]:
        """What it lists of that kind, in either era."""
        return self._keys[kind].keys()

    def differences(self, before: "Offer") -> frozenset[Kind]:
        """The kinds whose lists are not what they were ``before``."""
        found: frozenset[Kind] = frozenset()
        for now, then in zip(self.sides, before.sides, strict=True):
            found |= now.listing.differences(then.listing) | now.modern.listing.differences(then.modern.listing)
        return found


def both(everything: Offer, nothing: Offer) -> Offer:
    """What it has for anybody, which those are shown as well who declare something; the others see their side.

    So nothing is kept from a client that can use it; what needs more than it declares, its server refuses.
    """
    greetings = [one.greeting or {} for one in (everything, nothing)]
    discovered = [one.modern.discovered for one in (everything, nothing)]
    certain = handshake.agree(*greetings) and handshake.agree(*(one or {} for one in discovered))
    if certain and not everything.differences(nothing):
        return everything
    modern = None
    if everything.modern.discovered is not None:
        listing = everything.modern.listing.with_others(nothing.modern.listing)
        modern = ModernOffer(everything.modern.versions, listing, everything.modern.discovered)
    offer = Offer(everything.greeting, everything.listing.with_others(nothing.listing), modern)
    offer.sides, offer.certain = (everything, nothing), certain
    return offer
