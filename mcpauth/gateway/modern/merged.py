"""`/mcp`, modern era: all backends together. For scopes, ticks and names the rules are those of the legacy era."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from ...errors import GatewayError, InvalidParameters, ResourceNotFound, ToolRefused, UnknownMethod
from ...models.principal import Principal
from .. import frames, log_message, tools
from ..answer import ACCEPTED, Answer
from ..catalogue import Catalogue
from ..eras import CAPABILITIES, CLIENT, MODERN, SERVER, VERSION
from ..frames import Frame
from ..listing import ANNOUNCED, LIST_CHANGED, Kind
from ..load import Load
from ..ourselves import ABOUT_US
from ..served import Served
from ..together import INSTRUCTIONS, LISTS, Together, text
from . import incoming, parameters, results
from .active import Active
from .caller import Caller
from .envelope import Envelope
from .headers import Headers
from .replies import ModernReplies
from .subscription import URIS, Subscription, Target, Wanted

VERSIONS = list(MODERN)
SUBSCRIPTIONS = 256  # resources that one subscription may name


class ModernMerged:
    def __init__(self, together: Together, catalogue: Catalogue, load: Load) -> None:
        self._together, self._catalogue, self._load = together, catalogue, load
        self._active = Active()
        self._subscriptions: set[Subscription] = set()
        self.end_grant, self.hang_up = self._active.end_grant, self._active.hang_up

    async def forward(self, principal: Principal, frame: Frame, given: Headers) -> Answer:
        """Raises what stands against the message."""
        read = incoming.read(frame, given, VERSIONS)
        if read is None:
            return ACCEPTED
        method, about = read
        params = about.params
        if method in LISTS:
            page = await self._together.page(principal, LISTS[method], params, about.capabilities)
            return _result(frame, {**results.UNCACHED, **page})
        match method:
            case "server/discover":
                return _result(frame, await self._discover())
            case "tools/call":
                return await self._call(principal, frame, about, given)
            case "prompts/get":
                served, name = await self._together.prompt(principal, text(params, "name"))
                return self._ask(principal, [served], frame, about, {**params, "name": frames.raw(name)})
            case "resources/read":
                return await self._read(principal, frame, about)
            case "completion/complete":
                served, params = await self._together.reference(principal, params)
                return self._ask(principal, [served], frame, about, params)
            case "subscriptions/listen":
                return await self._listen(principal, frame, about)
        raise UnknownMethod("not offered here; a server's own address serves all it has")

    def lists_changed(self, kinds: frozenset[Kind]) -> None:
        """The merged lists of these ``kinds`` are others by now; so may be who is to be listened to."""
        for subscription in list(self._subscriptions):
            for method in dict.fromkeys(kind.list_changed for kind in kinds):
                subscription.lists_changed(method)
        self.follow()

    def follow(self) -> None:
        """Listen to the backends that there are now."""
        for subscription in list(self._subscriptions):
            subscription.follow()

    async def _discover(self) -> dict[str, Any]:
        return {
            **results.UNCACHED,
            "supportedVersions": VERSIONS,
            "capabilities": await self._together.capabilities(),
            "instructions": INSTRUCTIONS,
            "_meta": {SERVER: ABOUT_US},
        }

    async def _call(self, principal: Principal, frame: Frame, about: Envelope, given: Headers) -> Answer:
        try:
            served, name = await self._together.tool(principal, tools.named(about.params))
        except ToolRefused as error:
            return _whole(results.tool_error(frame["id"], error.message))
        offer = await self._catalogue.modern(served.name)
        parameters.check(offer.parameters.get(name, ()), given, about.params)
        return self._ask(principal, [served], frame, about, {**about.params, "name": frames.raw(name)})

    async def _read(self, principal: Principal, frame: Frame, about: Envelope) -> Answer:
        uri = text(about.params, "uri")
        # What the client says for the second time is for whom it has asked in the first.
        again = bool({"requestState", "inputResponses"} & about.params.keys())
        candidates = await self._together.resource(principal, uri, self._runs(principal, about), only=again)

        def answered(answer: Frame) -> Frame:
            if "error" not in answer:
                self._together.found(principal, uri, replies.served)
            elif len(candidates) > 1:
                return frames.failure(frame["id"], ResourceNotFound(uri))
            return results.private(answer)

        replies = self._replies(principal, candidates, frame, about, about.params)
        replies.change = answered
        return Answer(replies=replies)

    async def _listen(self, principal: Principal, frame: Frame, about: Envelope) -> Answer:
        given = frames.members(about.params.get("notifications"))
        uris = _uris(given.get(URIS))
        for uri in uris:
            try:
                await self._together.resource(principal, uri, self._runs(principal, about))
            except GatewayError:
                continue  # It is not acknowledged.
        capabilities = await self._together.capabilities()
        wanted: Wanted = {
            key: True
            for key, kind in ANNOUNCED.items()
            if bytes(given.get(key, b"")) == b"true" and kind.capability in capabilities
        }

        def targets() -> Mapping[str, Target]:
            return self._targets(principal, wanted, uris)

        if uris:
            known = [uri for target in targets().values() for uri in target.wanted.get(URIS, [])]
            wanted[URIS] = [uri for uri in uris if uri in known]
        subscription = Subscription(
            frame["id"],
            _caller(principal, about, self._load),
            {key: about.meta[key] for key in (VERSION, CAPABILITIES, CLIENT) if key in about.meta},
            wanted,
            targets=targets,
            changed=self._catalogue.refresh,
            ended=self._unsubscribed,
        )
        self._active.add(subscription)
        self._subscriptions.add(subscription)
        return Answer(replies=subscription)

    def _targets(self, principal: Principal, wanted: Wanted, uris: Sequence[str]) -> Mapping[str, Target]:
        """Each backend that could tell what is wanted."""
        targets: dict[str, Target] = {}
        owners = {uri: self._together.owner(principal, uri) for uri in uris}
        for served, listing in self._together.listings(principal):
            theirs: Wanted = {
                key: True
                for key, kind in ANNOUNCED.items()
                if key in wanted and not served.announces and listing.declares(kind.capability, "listChanged")
            }
            if listing.declares("resources", "subscribe") and principal.permits(served.name, None, read_only=False):
                own = [uri for uri, owner in owners.items() if owner == served.name]
                theirs |= {URIS: own} if own else {}
            if theirs:
                targets[served.name] = Target(served, theirs)
        return targets

    def _runs(self, principal: Principal, about: Envelope) -> Callable[[Served], bool]:
        caller = _caller(principal, about, self._load)
        return lambda served: served.runs(caller)

    def _unsubscribed(self, subscription: Subscription) -> None:
        self._subscriptions.discard(subscription)
        self._active.ended(subscription)

    def _ask(
        self, principal: Principal, candidates: Sequence[Served], frame: Frame, about: Envelope, params: Frame
    ) -> Answer:
        return Answer(replies=self._replies(principal, candidates, frame, about, params))

    def _replies(
        self, principal: Principal, candidates: Sequence[Served], frame: Frame, about: Envelope, params: Frame
    ) -> ModernReplies:
        # Encoded anew: of what is given twice, the backend gets what was judged.
        served, *others = candidates
        replies = ModernReplies(
            served,
            _caller(principal, about, self._load),
            {**frame, "params": frames.raw(params)},
            heard=self._heard,
            ended=self._active.ended,
            others=others,
        )
        self._active.add(replies)
        return replies

    def _heard(self, served: Served, frame: Frame) -> Frame:
        if frames.text(frame["method"]) in LIST_CHANGED:
            self._catalogue.refresh(served.name)
        return log_message.named(served.name, frame)


def _caller(principal: Principal, about: Envelope, load: Load) -> Caller:
    unread = load.unread(principal.grant_id)
    return Caller(principal.subject, principal.grant_id, unread, about.capabilities, about.headers)


def _uris(given: msgspec.Raw | None) -> list[str]:
    if given is None or bytes(given) == b"null":
        return []
    try:
        uris = msgspec.json.decode(given, type=list[str])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidParameters(f'"{URIS}" must be a list of strings') from None
    if len(uris) > SUBSCRIPTIONS:
        raise InvalidParameters(f"{SUBSCRIPTIONS} resources are all that one subscription may name")
    return list(dict.fromkeys(uris))


def _result(frame: Frame, result: object) -> Answer:
    return _whole(frames.result(frame["id"], result))


def _whole(frame: Frame) -> Answer:
    return Answer(reply=frames.encode(frame))
