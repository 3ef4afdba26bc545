"""Rotation, as the rows see it: the same successor while the answer may be lost, theft afterwards."""

import asyncio

from mcpauth.store.client_approvals import ClientApprovalStore
from mcpauth.store.refresh_tokens import NewToken, Refused, Rotated
from tests.conftest import FixedAmbient
from tests.store.conftest import DAY, Stores


async def test_many_at_once_get_one_successor(stores: Stores) -> None:
    await stores.connect("a")
    outcomes = await asyncio.gather(*(stores.rotate("t-a", "t-a2") for _ in range(8)))
    assert all(isinstance(outcome, Rotated) for outcome in outcomes)
    assert {outcome.generation for outcome in outcomes if isinstance(outcome, Rotated)} == {1}
    assert await stores.count("refresh_tokens") == 2
    assert stores.live == ["s-a"]


async def test_a_lost_answer_can_be_asked_for_again_for_ever_while_nothing_of_it_was_used(
    stores: Stores, ambient: FixedAmbient
) -> None:
    await stores.connect("a")
    assert isinstance(await stores.rotate("t-a", "t-a2"), Rotated)
    ambient.time += 10 * DAY
    assert isinstance(await stores.rotate("t-a", "t-a2"), Rotated)


async def test_a_token_whose_successor_was_used_is_theft_after_the_grace(stores: Stores, ambient: FixedAmbient) -> None:
    await stores.connect("a")
    await stores.rotate("t-a", "t-a2")
    await stores.rotate("t-a2", "t-a3")
    ambient.time += 60
    assert isinstance(await stores.rotate("t-a", "t-a2"), Rotated)
    ambient.time += 1
    assert await stores.rotate("t-a", "t-a2") == Refused("reused", ("s-a",))
    assert stores.live == await stores.on_disk() == []
    assert stores.ended == ["a"]
    assert await stores.count("notices") == 1
    for token in ("t-a", "t-a2", "t-a3"):
        assert await stores.rotate(token, "x") == Refused("ended")


async def test_an_access_token_of_the_new_generation_supersedes_the_old_refresh_token(
    stores: Stores, ambient: FixedAmbient
) -> None:
    await stores.connect("a")
    await stores.rotate("t-a", "t-a2")
    live = stores.sessions.find("s-a", ambient.now())
    assert live is not None
    stores.sessions.confirm(live, 1, ambient.now())
    ambient.time += 61
    refused = await stores.rotate("t-a", "t-a2")
    assert isinstance(refused, Refused)
    assert refused.reason == "reused"


async def test_what_is_refused_without_ending_anything(stores: Stores, ambient: FixedAmbient) -> None:
    await stores.connect("a")
    assert await stores.rotate("nobody's", "x") == Refused("unknown")
    ambient.time += 30 * DAY
    assert await stores.rotate("t-a", "x") == Refused("expired")
    row = await stores.grants.find("a")
    assert row is not None
    assert row.ended_at is None


async def test_a_code_is_redeemed_once_however_many_come(stores: Stores, ambient: FixedAmbient) -> None:
    now = ambient.now()
    grant = stores.grant("a")
    assert await stores.grants.approve(grant, stores.code("a", "ada"), "once", now + 600)

    async def redeem(number: int) -> bool:
        token = NewToken(f"t-{number}", "a", number, now, now + DAY)
        return await stores.codes.redeem("code-a", token, stores.session(f"s-{number}", "ada", "a")) is not None

    assert sorted(await asyncio.gather(*(redeem(number) for number in range(6)))) == [False] * 5 + [True]
    assert stores.live == await stores.on_disk()
    assert len(stores.live) == 1
    assert await stores.count("refresh_tokens") == 1


async def test_a_client_that_is_refused_meanwhile_leaves_nothing(stores: Stores, ambient: FixedAmbient) -> None:
    now, client_id = ambient.now(), "https://client.example/published.json"
    (known,) = await stores.clients.list_all()
    published = known.model_copy(update={"client_id": client_id, "preregistered": False})
    await ClientApprovalStore(stores.database).decide(client_id, "it", "refused", now)
    grant = stores.grant("g", client_id=client_id)
    assert not await stores.grants.approve(grant, stores.code("g", "ada"), "the page", now + 600, published)
    assert await stores.clients.list_all() == [known]
    assert await stores.count("used_once") == 0


async def test_a_consent_counts_once(stores: Stores, ambient: FixedAmbient) -> None:
    now = ambient.now()

    async def approve(name: str) -> bool:
        grant = stores.grant(name)
        return await stores.grants.approve(grant, stores.code(name, "ada"), "the same page", now + 600)

    assert sorted(await asyncio.gather(*(approve(name) for name in "abcd"))) == [False, False, False, True]
    assert await stores.count("grants") == await stores.count("authorization_codes") == 1
