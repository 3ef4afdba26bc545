"""The stories of connection attempts. Memory is ahead of them by a moment; see oauth/trace.py."""

import sqlite3
from collections.abc import Iterable

from ..models.records import Story
from .database import Database

SAVE = """
    insert into stories (story_id, began_at, last_at, story)
    values (:story_id, :began_at, :last_at, :story)
    on conflict (story_id) do update set last_at = :last_at, story = :story
"""


class StoryStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(self, stories: Iterable[Story], removed: Iterable[str]) -> None:
        rows = [
            {"story_id": one.story_id, "began_at": one.began_at, "last_at": one.last_at, "story": one.model_dump_json()}
            for one in stories
        ]
        gone = [(story_id,) for story_id in removed]

        def save(connection: sqlite3.Connection) -> None:
            connection.executemany(SAVE, rows)
            connection.executemany("delete from stories where story_id = ?", gone)

        await self._database.transact(save)

    async def list(self, since: int) -> list[Story]:
        """Those that went on after ``since``, in the order of their last steps."""
        rows = await self._database.fetch_all(
            "select story from stories where last_at > :since order by last_at", {"since": since}
        )
        return [Story.model_validate_json(row["story"]) for row in rows]
