"""What all backends offer together at /mcp in one era: in which order, under which name, and whose each thing is."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from ..errors import InvalidParameters, ResourceNotFound, ToolRefused
from ..models.principal import Principal
from ..store.published_names import Owner
from . import cursor, frames, tools
from .catalogue import Catalogue
from .frames import Frame
from .listing import KINDS, PROMPTS, TEMPLATES, TOOLS, Kind, Listing
from .names import Names, PublishedNames
from .offer import Offer
from .served import Served
from .uri_owners import UriOwners

# What a page may have of one list.
ENTRIES, SIZE = 1000, 4 * 1024 * 1024

INSTRUCTIONS = (
    "What is here comes from several MCP servers on one machine. A name of the form server__name says which server "
    "a tool or prompt belongs to; the lists may change while you are connected."
)

LISTS = {kind.method: kind for kind in KINDS}


class Together:
    """``half`` is what an offer says for the era; ``unknown`` is raised of a resource that nobody has."""

    def __init__(
        self,
        backends: Mapping[str, Served],
        catalogue: Catalogue,
        names: PublishedNames,
        uris: UriOwners,
        half: Callable[[Offer], Listing],
        unknown: type[ResourceNotFound],
    ) -> None:
        self._backends, self._catalogue, self._names, self._uris = backends, catalogue, names, uris
        self._half, self._unknown = half, unknown
        self._published: dict[Kind, tuple[dict[str, Listing], dict[Owner, str]]] = {}  # what has its names

    async def capabilities(self) -> dict[str, Any]:
        """The union of what the backends have; of one that was never heard of, whatever there is.

        Each list may change, if only because a backend comes or goes.
        """
        await self._catalogue.settled()
        known = self._catalogue.known()
        listings = self._halves(known)

        def any_has(capability: str, option: str | None = None) -> bool:
            return None in known.values() or any(one.declares(capability, option) for one in listings.values())

        union: dict[str, Any] = {"tools": {"listChanged": True}}
        if any_has("prompts"):
            union["prompts"] = {"listChanged": True}
        if any_has("resources"):
            subscribe = {"subscribe": True} if any_has("resources", "subscribe") else {}
            union["resources"] = {**subscribe, "listChanged": True}
        return union | {simple: {} for simple in ("completions", "logging") if any_has(simple)}

    async def page(self, principal: Principal, kind: Kind, params: Frame, declared: msgspec.Raw) -> dict[str, Any]:
        """What the principal may see of the list, from the cursor on, with a client that declares this of itself.

        Raises InvalidParameters.
        """
        begin = cursor.read(kind, params.get("cursor"))
        offers, names = await self._offers(kind)
        listings = self._halves({name: offer.to(declared) for name, offer in offers.items()})
        found: list[msgspec.Raw] = []
        size = 0
        for backend, position, key in self._from(begin, kind, listings):
            definition = self._shown(principal, kind, backend, key, listings[backend], names)
            if definition is None:
                continue
            size += len(bytes(definition))
            if found and (len(found) == ENTRIES or size > SIZE):
                return {kind.member: found, "nextCursor": cursor.write(kind, backend, position)}
            found.append(definition)
        return {kind.member: found}

    async def tool(self, principal: Principal, published: str) -> tuple[Served, str]:
        """Who has it, and its name there. Raises InvalidParameters, ToolRefused, InsufficientScope."""
        owner = await self._owner(self._names.tools, TOOLS, published)
        if owner is None:
            raise InvalidParameters("unknown tool; list the tools again")
        backend, name = owner
        served = self._backends.get(backend)
        if served is None:
            raise ToolRefused(f"The server {backend}, which had this tool, is gone.")
        read_only = False
        if principal.scope_needed(backend, read_only=False) is not None:
            offer = await self._catalogue.offer(backend)
            if offer is None:  # Whether it only reads, nobody can say: that is no reason to ask for more scope.
                raise ToolRefused(f"The server {backend} is not there at the moment.")
            tool = self._half(offer).tools.get(name)
            read_only = tool is not None and tool.read_only
        refusal = served.refusal(principal, name, read_only=read_only)
        if refusal is not None:
            raise ToolRefused(refusal)
        return served, name

    def served(self, backend: str) -> Served | None:
        return self._backends.get(backend)

    async def prompt(self, principal: Principal, published: str) -> tuple[Served, str]:
        """Who has it, and its name there. Raises InvalidParameters, InsufficientScope."""
        owner = await self._owner(self._names.prompts, PROMPTS, published)
        served = None if owner is None else self._backends.get(owner[0])
        if owner is None or served is None or not principal.ticked(served.name):
            raise InvalidParameters("unknown prompt; list the prompts again")
        served.require(principal, read_only=False)
        return served, owner[1]

    async def resource(
        self, principal: Principal, uri: str, runs: Callable[[Served], bool], *, only: bool = False
    ) -> list[Served]:
        """Who to ask for it, in turn: one where a list or a template says whose it is, else all that are near.

        Near are those that have resources and cost no process, by what ``runs`` says, those whose template could be
        anything, and the one that this user had it from; with ``only``, that one alone. Where only one has resources,
        it is near. Others are not started for what may be nobody's, and do not hear of it.
        Raises what says that there is none.
        """
        await self._known_uris()
        owner = self._uris.of(uri)
        if owner is not None:
            return self._allowed(principal, [owner], uri)
        halves = self._halves(self._catalogue.known())
        candidates = [backend for backend, listing in halves.items() if listing.declares("resources")]
        had = self._uris.found(principal.subject, uri)
        if only and had in candidates:
            candidates = [had]
        allowed = self._allowed(principal, candidates, uri)
        if len(allowed) == 1:
            return allowed
        likely = {had, *self._uris.possible(uri)}
        near = [served for served in allowed if served.name in likely or runs(served)]
        if not near:
            raise self._unknown(uri)
        return near

    def found(self, principal: Principal, uri: str, served: Served) -> None:
        """This one had it."""
        if self._uris.of(uri) is None:
            self._uris.find(principal.subject, uri, served.name)

    def owner(self, principal: Principal, uri: str) -> str | None:
        """Whose it is, by the lists or because this user had it from that one."""
        self._uris.update(self._catalogue.known())
        return self._uris.of(uri) or self._uris.found(principal.subject, uri)

    def listings(self, principal: Principal) -> list[tuple[Served, Listing]]:
        """What is known of the backends of which the principal may use something."""
        halves = self._halves(self._catalogue.known())
        known = [(self._backends[name], half) for name, half in halves.items()]
        return [(served, half) for served, half in known if principal.permits(served.name, None, read_only=True)]

    async def reference(self, principal: Principal, params: Frame) -> tuple[Served, Frame]:
        """Who completes what the parameters refer to, and the parameters for that one."""
        ref = frames.members(params.get("ref"))
        match frames.text(ref.get("type")):
            case "ref/prompt":
                served, name = await self.prompt(principal, text(ref, "name"))
                ref["name"] = frames.raw(name)
            case "ref/resource":
                uri = text(ref, "uri")
                await self._known_uris()
                owner = self._uris.listed(TEMPLATES, uri) or self._uris.of(uri)
                if owner is None:
                    raise InvalidParameters("unknown resource template; list the templates again")
                (served,) = self._allowed(principal, [owner], uri)
            case _:
                raise InvalidParameters('"ref" must be of type ref/prompt or ref/resource')
        return served, {**params, "ref": frames.raw(ref)}

    def _allowed(self, principal: Principal, candidates: list[str], uri: str) -> list[Served]:
        """Those that the principal may ask. Raises InsufficientScope where consent helps."""
        ticked = [self._backends[one] for one in candidates if one in self._backends and principal.ticked(one)]
        if not ticked:
            raise self._unknown(uri)
        allowed = [served for served in ticked if principal.permits(served.name, None, read_only=False)]
        if not allowed:
            ticked[0].require(principal, read_only=False)
        return allowed

    async def _known_uris(self) -> None:
        await self._catalogue.offers()
        self._uris.update(self._catalogue.known())

    async def _owner(self, names: Names, kind: Kind, published: str) -> Owner | None:
        if names.owner(published) is None:
            await self._offers(kind)  # The client may ask before anybody has seen a list.
        return names.owner(published)

    async def _offers(self, kind: Kind) -> tuple[dict[str, Offer], dict[Owner, str]]:
        """Of the backends that are there, in the owner's order; and under which names."""
        offers = await self._catalogue.offers()
        if kind not in (TOOLS, PROMPTS):
            self._uris.update(self._catalogue.known())
            return offers, {}
        listings = self._halves(offers)
        published = self._published.get(kind)
        if published is None or published[0] != listings:
            names = self._names.tools if kind is TOOLS else self._names.prompts
            # All of them get their names now, in one order, whoever asks first and whatever they may see.
            keys = [(backend, key) for backend, listing in listings.items() for key in listing.definitions[kind]]
            published = self._published[kind] = listings, await names.publish(keys, self._backends)
        return offers, published[1]

    def _halves(self, offers: Mapping[str, Offer | None]) -> dict[str, Listing]:
        heard = {name: offer for name, offer in offers.items() if offer is not None and name in self._backends}
        return {name: self._half(offer) for name, offer in heard.items()}

    def _from(
        self, begin: tuple[str, int] | None, kind: Kind, listings: Mapping[str, Listing]
    ) -> Iterator[tuple[str, int, str]]:
        """Backend, position and key of each entry. A cursor outlives a failure of its backend."""
        order = list(self._backends)
        if begin is not None and begin[0] not in order:
            raise InvalidParameters("unknown cursor: list from the beginning")
        first, offset = (0, 0) if begin is None else (order.index(begin[0]), begin[1])
        for backend in order[first:]:
            keys = list(listings[backend].definitions[kind]) if backend in listings else []
            for position in range(offset, len(keys)):
                yield backend, position, keys[position]
            offset = 0

    def _shown(
        self, principal: Principal, kind: Kind, backend: str, key: str, listing: Listing, names: Mapping[Owner, str]
    ) -> msgspec.Raw | None:
        """The definition as the principal sees it; None where it does not."""
        if kind is TOOLS:
            tool, name = listing.tools.get(key), names.get((backend, key))
            if tool is None or name is None or not self._backends[backend].lists(principal, tool):
                return None
            return tools.renamed(tool, name)
        definition = listing.definitions[kind][key]
        if not principal.permits(backend, None, read_only=False):
            return None
        if kind is PROMPTS:
            name = names.get((backend, key))
            return None if name is None else frames.raw({**frames.members(definition), "name": name})
        return definition if self._uris.listed(kind, key) == backend else None


def legacy_half(offer: Offer) -> Listing:
    return offer.without_tasks


def modern_half(offer: Offer) -> Listing:
    return offer.modern.listing


def text(params: Frame, key: str) -> str:
    value = frames.text(params.get(key))
    if value is None:
        raise InvalidParameters(f'"{key}" must be a string')
    return value
