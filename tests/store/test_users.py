"""Users at the level of rows: one first owner, names, roles, and what goes with somebody who goes."""

import asyncio

import pytest

from mcpauth.models.records import Identity
from tests.conftest import FixedAmbient
from tests.store.conftest import Stores


async def test_of_many_first_owners_one_is_made(stores: Stores, ambient: FixedAmbient) -> None:
    made = await asyncio.gather(
        *(stores.users.add_owner(f"u{number}", f"u{number}", ambient.now()) for number in range(8)),
        stores.users.promote_to_owner("ada", ambient.now()),
    )
    assert sum(bool(one) for one in made) == 1
    roles = [one.user.role for one in await stores.users.list_all()]
    assert roles.count("owner") == 1
    assert stores.users.owners == 1


async def test_a_name_is_one_persons_whatever_its_case(stores: Stores, ambient: FixedAmbient) -> None:
    assert await stores.users.add("x", "ADA", "member", ambient.now()) is None
    named = await stores.users.find_by_name("ADA")
    assert named is not None
    assert named.user_id == "ada"
    identity = Identity(provider="github", provider_id="1", login="Ada")
    added = await stores.users.add("y", "Ada", "member", ambient.now(), identity=identity)
    assert added is not None
    assert added.name == "Ada-2"


@pytest.mark.parametrize("role", ["member", "pending"])
async def test_the_last_owner_stays_one(stores: Stores, ambient: FixedAmbient, role: str) -> None:
    await stores.users.add_owner("u", "grace", ambient.now())
    assert not await stores.users.set_role("u", role, ambient.now())  # type: ignore[arg-type]
    assert not await stores.users.remove("u", ambient.now())
    assert await stores.users.set_role("ada", "owner", ambient.now())
    both = await asyncio.gather(stores.users.remove("u", ambient.now()), stores.users.remove("ada", ambient.now()))
    assert sorted(both) == [False, True]
    assert stores.users.owners == 1


async def test_who_is_removed_takes_everything_along(stores: Stores, ambient: FixedAmbient) -> None:
    await stores.connect("a")
    await stores.connect("b", "bob")
    await stores.sessions.open_browser(stores.session("browser", "ada", cookie="cookie"))
    await stores.users.set_password("ada", "hash", ambient.now())
    assert stores.users.with_password == 1
    assert await stores.users.remove("ada", ambient.now())
    assert stores.live == await stores.on_disk() == ["s-b"]
    assert stores.ended == ["a"]
    assert await stores.count("grants") == await stores.count("refresh_tokens") == 1
    assert stores.users.with_password == await stores.count("passwords") == 0


async def test_who_has_to_wait_again_loses_access_at_once_and_stays_known(
    stores: Stores, ambient: FixedAmbient
) -> None:
    await stores.connect("a")
    await stores.users.set_role("ada", "pending", ambient.now())
    assert stores.live == await stores.on_disk() == []
    assert await stores.users.find("ada") is not None
    refused = await stores.rotate("t-a", "t-a2")
    assert refused.closed == ()
    assert stores.live == []


async def test_at_most_so_many_wait(stores: Stores, ambient: FixedAmbient) -> None:
    async def come(number: int) -> bool:
        identity = Identity(provider="github", provider_id=str(number), login=f"p{number}")
        added = await stores.users.add(
            f"p{number}", f"p{number}", "pending", ambient.now(), identity=identity, most_pending=3
        )
        return added is not None

    assert sum(await asyncio.gather(*(come(number) for number in range(10)))) == 3
