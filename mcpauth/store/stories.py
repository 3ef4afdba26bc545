"""The stories of connection attempts. Memory is ahead of them by a moment; see oauth/trace.py."""

import sqlite3
from collections.abc import Collection
from typing import Any

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

    async def save(self, stories: Collection[Story], removed: Collection[str]) -> None:
        def save(connection: sqlite3.Connection) -> None:
            # Written out here, in the database's thread.
            connection.executemany(SAVE, map(_row, stories))
            connection.executemany("delete from stories where story_id = ?", [(one,) for one in removed])

        await self._database.transact(save)

    async def list(self, since: int) -> list[Story]:
        """Those that went on after ``since``, in the order of their last steps."""
        rows = await self._database.fetch_all(
            "select story from stories where last_at > :since order by last_at", {"since": since}
        )
        return [Story.model_validate_json(row["story"]) for row in rows]


def _row(story: Story) -> dict[str, Any]:
    times = {"began_at": story.began_at, "last_at": story.last_at}
    return {"story_id": story.story_id, **times, "story": story.model_dump_json()}
