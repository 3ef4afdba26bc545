"""What the owner should know."""

from ..models.records import Notice
from .database import Database


class NoticeStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_since(self, since: int, user_id: str | None = None) -> list[Notice]:
        """Newest first; of one user, or of all."""
        rows = await self._database.fetch_all(
            "select * from notices where created_at >= :since and (:user_id is null or user_id = :user_id)"
            " order by created_at desc, notice_id desc limit 20",
            {"since": since, "user_id": user_id},
        )
        return [Notice(**dict(row)) for row in rows]
