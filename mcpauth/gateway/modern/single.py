"""`/mcp/{backend}`, modern era: what the gateway answers itself, and what the principal may have of the rest.

For scopes and ticks the rules are those of the legacy era (gateway/single.py).
"""

from collections.abc import Callable
from typing import Any

from ...errors import UnknownMethod
from ...models.principal import Principal
from .. import frames, tools
from ..answer import ACCEPTED, Answer
from ..catalogue import Catalogue
from ..eras import SERVER
from ..frames import Frame
from ..listing import ANNOUNCED, LIST_CHANGED
from ..load import Load
from ..offer import ModernOffer
from ..served import Served
from ..single import BY_METHOD, EMPTY
from . import incoming, parameters, results
from .active import Active
from .caller import Caller
from .envelope import Envelope
from .headers import Headers
from .replies import ModernReplies


class ModernSingle:
    def __init__(self, served: Served, catalogue: Catalogue, load: Load) -> None:
        self._served, self._catalogue, self._load = served, catalogue, load
        self._active = Active()
        self.end_grant, self.hang_up = self._active.end_grant, self._active.hang_up

    async def forward(self, principal: Principal, frame: Frame, given: Headers) -> Answer:
        """Raises what stands against the message."""
        offer = await self._catalogue.modern(self._served.name)
        read = incoming.read(frame, given, offer.versions)
        if read is None:
            return ACCEPTED
        method, about = read
        if method == "tools/call":
            parameters.check(offer.parameters.get(tools.named(about.params), ()), given, about.params)
        if (method in BY_METHOD and "cursor" not in about.params) or method == "server/discover":
            result = await self._from_memory(principal, method, about)
            if result is not None:
                return _whole(frames.result(frame["id"], result))
        return self._request(principal, method, frame, about, offer)

    def _request(self, principal: Principal, method: str, frame: Frame, about: Envelope, offer: ModernOffer) -> Answer:
        change = results.private if method in results.CACHED else None
        if self._served.unrestricted(principal):
            return self._relay(principal, frame, about, change)
        if method == "tools/list":
            return self._relay(principal, frame, about, lambda answer: self._list(principal, answer))
        if method == "tools/call":
            return self._call(principal, frame, about, offer)
        if self._may_do_all(principal) or method == "server/discover":
            return self._relay(principal, frame, about, change)
        if method in EMPTY:
            return _whole(results.empty_list(frame["id"], EMPTY[method]))
        if method == "subscriptions/listen":
            return self._relay(principal, self._announced(principal, frame, about), about)
        self._served.require(principal, read_only=False)
        return self._relay(principal, frame, about)

    async def _from_memory(self, principal: Principal, method: str, about: Envelope) -> dict[str, Any] | None:
        """The result of what is no reason to start a process; None when the backend itself must answer.

        Raises UnknownMethod of a list that it does not have.
        """
        kind = BY_METHOD.get(method)
        if self._served.runs(_caller(principal, about, self._load)):
            return None
        offer = await self._catalogue.remembered(self._served.name)
        if offer is None:
            return None
        offer = offer.to(about.capabilities)
        if kind is None:
            discovered = offer.modern.discovered if offer.certain else None
            return None if discovered is None else {**discovered, **results.UNCACHED}
        listed = self._served.listed(principal, offer.modern.listing, kind)
        if not listed and not offer.modern.listing.declares(kind.capability) and self._may_do_all(principal):
            raise UnknownMethod(f"the server {self._served.name} has no {kind.capability}")
        result = {**results.UNCACHED, kind.member: listed}
        if (server := offer.server) is not None:
            result["_meta"] = {SERVER: server}
        return result

    def _may_do_all(self, principal: Principal) -> bool:
        return principal.scope_needed(self._served.name, read_only=False) is None

    def _announced(self, principal: Principal, frame: Frame, about: Envelope) -> Frame:
        """A subscription to changes of lists; to more than those, reading alone does not entitle."""
        wanted = frames.members(about.params.get("notifications"))
        if not wanted.keys() <= ANNOUNCED.keys() or frames.look_alike(about.params, frozenset({"notifications"})):
            self._served.require(principal, read_only=False)
        # Encoded anew: of what is given twice, the backend gets what was judged.
        return {**frame, "params": frames.raw({**about.params, "notifications": wanted})}

    def _list(self, principal: Principal, answer: Frame) -> Frame:
        return results.filtered(answer, lambda tool: self._served.lists(principal, tool))

    def _call(self, principal: Principal, frame: Frame, about: Envelope, offer: ModernOffer) -> Answer:
        name = tools.named(about.params)
        tool = offer.tools.get(name)
        refusal = self._served.refusal(principal, name, read_only=tool is not None and tool.read_only)
        if refusal is not None:
            return _whole(results.tool_error(frame["id"], refusal))
        # Encoded anew: of a name given twice, the backend gets the one that was judged.
        return self._relay(principal, {**frame, "params": frames.raw(about.params)}, about)

    def _relay(
        self, principal: Principal, frame: Frame, about: Envelope, change: Callable[[Frame], Frame] | None = None
    ) -> Answer:
        replies = ModernReplies(
            self._served,
            _caller(principal, about, self._load),
            frame,
            heard=self._heard,
            ended=self._active.ended,
            change=change,
        )
        self._active.add(replies)
        return Answer(replies=replies)

    def _heard(self, served: Served, frame: Frame) -> Frame:
        if frames.text(frame["method"]) in LIST_CHANGED:
            self._catalogue.refresh(served.name)
        return frame


def _caller(principal: Principal, about: Envelope, load: Load) -> Caller:
    unread = load.unread(principal.grant_id)
    return Caller(principal.subject, principal.grant_id, unread, about.capabilities, about.headers)


def _whole(frame: Frame) -> Answer:
    return Answer(reply=frames.encode(frame))
