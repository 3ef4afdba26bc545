"""Live sign-ins: the cap, whose turn it is to go, what memory knows, what a restart keeps."""

import asyncio

from tests.conftest import FixedAmbient
from tests.store.conftest import DAY, Stores


async def connect_five(stores: Stores, ambient: FixedAmbient, expires_in: int = 36000) -> None:
    for name in "abcde":
        await stores.connect(name, expires_in=expires_in)
        ambient.time += 10


async def test_a_sixth_client_closes_the_least_recently_used_one(stores: Stores, ambient: FixedAmbient) -> None:
    await connect_five(stores, ambient)
    first = stores.sessions.find("s-a", ambient.now())
    assert first is not None
    # Known to memory only, until somebody has to go.
    stores.sessions.touch(first, ambient.now())
    surplus = stores.sessions.surplus_for("ada", ambient.now())
    assert surplus is not None
    assert surplus.record.session_id == "s-b"
    await stores.connect("f", expires_in=36000)
    assert stores.live == await stores.on_disk() == ["s-a", "s-c", "s-d", "s-e", "s-f"]
    assert stores.ended == ["b"]
    assert stores.sessions.find("s-b", ambient.now()) is None


async def test_one_whose_access_token_has_run_out_goes_first(stores: Stores, ambient: FixedAmbient) -> None:
    for name in "abcde":
        await stores.connect(name, expires_in=10 if name == "c" else 36000)
        ambient.time += 1
    live = stores.sessions.find("s-c", ambient.now())
    assert live is not None
    ambient.time += 10
    stores.sessions.touch(live, ambient.now())
    surplus = stores.sessions.surplus_for("ada", ambient.now())
    assert surplus is live
    await stores.connect("f")
    assert stores.live == ["s-a", "s-b", "s-d", "s-e", "s-f"]


async def test_the_cap_counts_each_user_and_browsers_apart(stores: Stores, ambient: FixedAmbient) -> None:
    await connect_five(stores, ambient)
    await stores.connect("f", "bob")
    for number in range(5):
        await stores.sessions.open_browser(stores.session(f"browser-{number}", "ada", cookie=f"cookie-{number}"))
        ambient.time += 1
    assert len(stores.live) == 11
    await stores.sessions.open_browser(stores.session("browser-5", "ada", cookie="cookie-5"))
    assert len(stores.live) == 11
    assert "browser-0" not in stores.live
    assert stores.sessions.find_by_cookie("cookie-0", ambient.now()) is None
    assert stores.sessions.find_by_cookie("cookie-5", ambient.now()) is not None


async def test_a_browsers_session_is_for_who_may_still_come_in(stores: Stores, ambient: FixedAmbient) -> None:
    async def opens(user: str, password_hash: str | None) -> bool:
        return await stores.sessions.open_browser(stores.session("browser", user, cookie="cookie"), password_hash)

    await stores.users.set_password("ada", "old", ambient.now())
    await stores.users.set_password("ada", "new", ambient.now())
    assert not await opens("ada", "old")
    assert not await opens("ada", "")
    # Whoever came without a password has none that could have been changed.
    assert not await opens("bob", "new")
    assert not await opens("nobody", None)
    await stores.users.set_role("bob", "pending", ambient.now())
    assert not await opens("bob", None)
    assert stores.live == await stores.on_disk() == []
    assert stores.sessions.find_by_cookie("cookie", ambient.now()) is None
    assert await opens("ada", "new")
    assert stores.live == await stores.on_disk() == ["browser"]


async def test_a_new_password_ends_browsers_and_leaves_clients(stores: Stores, ambient: FixedAmbient) -> None:
    await stores.connect("a")
    for user in ("ada", "bob"):
        await stores.sessions.open_browser(stores.session(f"browser-{user}", user, cookie=f"cookie-{user}"))
    await stores.users.set_password("ada", "new", ambient.now())
    assert stores.live == await stores.on_disk() == ["browser-bob", "s-a"]
    assert stores.sessions.find_by_cookie("cookie-ada", ambient.now()) is None
    assert stores.ended == []


async def test_six_at_once_are_five(stores: Stores) -> None:
    await asyncio.gather(*(stores.connect(name) for name in "abcdefgh"))
    assert len(stores.live) == 5
    assert stores.live == await stores.on_disk()


async def test_a_closed_one_comes_back_with_its_refresh_token_within_the_cap(
    stores: Stores, ambient: FixedAmbient
) -> None:
    await connect_five(stores, ambient)
    await stores.connect("f")
    assert "s-a" not in stores.live
    ambient.time += 1
    assert await stores.rotate("t-a", "t-a2", "s-a-again")
    assert "s-a-again" in stores.live
    assert len(stores.live) == 5
    assert stores.live == await stores.on_disk()


async def test_a_session_ends_a_day_after_its_last_use(stores: Stores, ambient: FixedAmbient) -> None:
    await stores.connect("a")
    await stores.connect("b")
    ambient.time += DAY - 1
    live = stores.sessions.find("s-a", ambient.now())
    assert live is not None
    stores.sessions.touch(live, ambient.now())
    ambient.time += 1
    assert stores.live == ["s-a"]
    assert stores.sessions.find("s-b", ambient.now()) is None
    await stores.sessions.close_idle(ambient.now())
    assert await stores.on_disk() == ["s-a"]
    assert stores.ended == ["b"]
    ambient.time += DAY - 1
    assert stores.sessions.find("s-a", ambient.now()) is None


async def test_a_restart_keeps_everything_that_lived(stores: Stores, ambient: FixedAmbient) -> None:
    await connect_five(stores, ambient)
    await stores.sessions.open_browser(stores.session("browser", "bob", cookie="cookie"))
    await stores.grants.end(ambient.now(), "revoked", grant_id="c")
    ambient.time += DAY - 15
    live = stores.sessions.find("s-e", ambient.now())
    assert live is not None
    stores.sessions.touch(live, ambient.now())
    stores.sessions.flush()

    again = Stores(stores.database, ambient)
    await again.database.transact(lambda connection: None)  # behind what was flushed
    await again.sessions.load()
    assert again.live == stores.live
    assert "s-e" in again.live
    assert "s-c" not in again.live
    found = again.sessions.find("s-e", ambient.now())
    assert found is not None
    assert found.last_used_at == ambient.now()
    assert found.grant is not None
    assert found.grant.grant_id == "e"
    assert again.sessions.find_by_cookie("cookie", ambient.now()) is not None


async def test_ending_a_grant_ends_its_session_at_once_and_no_other(stores: Stores, ambient: FixedAmbient) -> None:
    await stores.connect("a")
    await stores.connect("b")
    assert await stores.grants.end(ambient.now(), "revoked", grant_id="a") == 1
    assert stores.live == await stores.on_disk() == ["s-b"]
    assert stores.ended == ["a"]
    assert await stores.grants.end(ambient.now(), "revoked", grant_id="a") == 0


async def test_last_uses_are_written_only_when_there_are_new_ones(stores: Stores, ambient: FixedAmbient) -> None:
    await stores.connect("a")
    seen: list[str] = []
    await stores.database.transact(lambda connection: connection.set_trace_callback(seen.append))
    seen.clear()
    live = stores.sessions.find("s-a", ambient.now())
    assert live is not None
    for _ in range(1000):
        stores.sessions.touch(live, ambient.now())
    stores.sessions.flush()
    stores.sessions.flush()
    await stores.database.transact(lambda connection: None)
    assert sum("update sessions" in statement for statement in seen) == 1
