"""Tells the owner's `doctor` that it is this server that answers at an address; to all others there is nothing here."""

from tornado import web

from ..presence import Presence
from .base import JSONHandler


class PresenceHandler(JSONHandler):
    def initialize(self, presence: Presence) -> None:
        self._presence = presence

    def get(self, word: str) -> None:
        if not self._presence.knows(word):
            raise web.HTTPError(404)
        self.write_json({"present": True})
