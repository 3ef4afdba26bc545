"""The names of tools and prompts, and those from before prompts had any."""

import shutil
from pathlib import Path

from mcpauth.store.database import MIGRATIONS, Database
from mcpauth.store.published_names import PublishedNameStore


async def test_the_names_that_tools_had_are_theirs_after_the_migration(tmp_path: Path) -> None:
    before = tmp_path / "migrations"
    before.mkdir()
    for path in MIGRATIONS.glob("*.sql"):
        if path.name < "0006":
            shutil.copy(path, before)
    path = tmp_path / "mcpauth.sqlite3"
    old = await Database.open(path, before)
    await old.transact(
        lambda connection: connection.execute("insert into published_names values ('log', 'git', 'log', 1)")
    )
    await old.close()
    database = await Database.open(path)
    store = PublishedNameStore(database)
    assert await store.list("tool") == {"log": ("git", "log")}
    assert await store.list("prompt") == {}
    await store.add("prompt", {"log": ("svn", "log")}, 2)
    assert await store.list("prompt") == {"log": ("svn", "log")}
    await database.close()
