"""Requests of backends to the client (sampling, elicitation, roots, ping) and the way back of its answers."""

import asyncio
from typing import Generic, NamedTuple, TypeVar

import msgspec

from . import frames
from .frames import Frame

# Unanswered ones that are remembered; a backend that asks more is not owed an answer to the oldest.
LIMIT = 1000

L = TypeVar("L")


class _Asked(NamedTuple, Generic[L]):
    link: L
    request_id: msgspec.Raw
    token: msgspec.Raw | None


class ServerRequests(Generic[L]):
    """Several backends may ask one client, and count alike: towards the client the ids and tokens are ours."""

    def __init__(self) -> None:
        self._asked: dict[int, _Asked[L]] = {}
        self._last = 0
        self._fewer = asyncio.Event()

    def ask(self, link: L, frame: Frame) -> Frame:
        self._last += 1
        ours = frames.raw(self._last)
        asked = {**frame, "id": ours}
        params = frames.members(frame.get("params"))
        meta = frames.members(params.get("_meta"))
        token = meta.get("progressToken")
        if token is not None and len(token) > frames.LONGEST_ID:
            token = None
        if token is not None:
            token = token.copy()
            asked["params"] = frames.raw({**params, "_meta": {**meta, "progressToken": ours}})
        self._asked[self._last] = _Asked(link, frame["id"], token)
        if len(self._asked) > LIMIT:
            del self._asked[next(iter(self._asked))]
        return asked

    def take_back(self, link: L, frame: Frame) -> Frame:
        """A backend's notifications/cancelled, with our id where it names a request of its own."""
        params = frames.members(frame.get("params"))
        wanted = params.get("requestId")
        for number, asked in self._asked.items():
            if asked.link is link and wanted is not None and _same(asked.request_id, wanted):
                del self._asked[number]
                self._fewer.set()
                return {**frame, "params": frames.raw({**params, "requestId": number})}
        return frame

    def answer(self, frame: Frame) -> tuple[L, Frame] | None:
        """Who asked, and the client's answer with their own id; None when nobody did (any more)."""
        number = frames.identifier(frame["id"])
        asked = self._asked.pop(number, None) if isinstance(number, int) else None
        self._fewer.set()
        return None if asked is None else (asked.link, {**frame, "id": asked.request_id})

    async def answered(self, link: L) -> None:
        """Until there is an answer to all that it has asked, or it is asked no more."""
        while any(asked.link is link for asked in self._asked.values()):
            self._fewer.clear()
            await self._fewer.wait()

    def progress(self, frame: Frame) -> tuple[L, Frame] | None:
        """The same for the client's notifications/progress."""
        params = frames.members(frame.get("params"))
        number = frames.integer(params.get("progressToken"))
        asked = None if number is None else self._asked.get(number)
        if asked is None or asked.token is None:
            return None
        return asked.link, {**frame, "params": frames.raw({**params, "progressToken": asked.token})}


def _same(one: msgspec.Raw, other: msgspec.Raw) -> bool:
    return frames.identifier(one) == frames.identifier(other)
