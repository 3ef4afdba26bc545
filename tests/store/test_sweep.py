"""What has expired goes, a few rows at a time; what is still good for something stays."""

from mcpauth.models.records import Client, ClientMetadata, Identity
from mcpauth.store.sweep import Sweep
from tests.conftest import FixedAmbient
from tests.store.conftest import DAY, Stores


async def sweep(stores: Stores, step: int = 2) -> int:
    return await Sweep(stores.database, step).run(stores.ambient.now())


async def add_client(stores: Stores, name: str, *, preregistered: bool = False) -> None:
    metadata = ClientMetadata(redirect_uris=("https://client.example/cb",))
    client = Client(
        client_id=name,
        metadata=metadata,
        secret_hash=None,
        registration_token_hash=None,
        preregistered=preregistered,
        created_at=stores.ambient.now(),
        used_at=None,
    )
    await stores.clients.add(client, 1000)


async def test_nothing_new_is_swept(stores: Stores) -> None:
    await stores.connect("a")
    assert await sweep(stores) == 0


async def test_unused_clients_go_after_90_days_and_used_ones_never(stores: Stores, ambient: FixedAmbient) -> None:
    await add_client(stores, "unused")
    await add_client(stores, "by the owner", preregistered=True)
    await stores.connect("a")
    ambient.time += 90 * DAY - 1
    await sweep(stores)
    assert await stores.clients.find("unused") is not None
    ambient.time += 1
    await sweep(stores)
    assert [client.client_id for client in await stores.clients.list_all()] == ["by the owner", "c1"]
    ambient.time += 5000 * DAY
    await sweep(stores)
    assert [client.client_id for client in await stores.clients.list_all()] == ["by the owner", "c1"]


async def test_people_who_wait_go_after_30_days_and_members_never(stores: Stores, ambient: FixedAmbient) -> None:
    for number in range(5):
        identity = Identity(provider="github", provider_id=str(number), login=f"p{number}")
        await stores.users.add(f"p{number}", f"p{number}", "pending", ambient.now(), identity=identity)
    ambient.time += 30 * DAY - 1
    assert await sweep(stores) == 0
    ambient.time += 1
    assert await sweep(stores) == 5
    assert [one.user.name for one in await stores.users.list_all()] == ["ada", "bob"]
    assert await stores.count("identities") == 0


async def test_one_step_removes_a_few_rows_only(stores: Stores, ambient: FixedAmbient) -> None:
    for number in range(5):
        await add_client(stores, f"unused-{number}")
    ambient.time += 90 * DAY
    seen: list[str] = []
    await stores.database.transact(lambda connection: connection.set_trace_callback(seen.append))
    seen.clear()
    assert await sweep(stores, step=2) == 5
    # Two, two, and one; each in a commit of its own, as are the other tables' nothing.
    assert seen.count("commit") == 12
    assert await stores.count("clients") == 1


async def test_an_approval_whose_code_was_never_redeemed_goes_with_it(stores: Stores, ambient: FixedAmbient) -> None:
    now = ambient.now()
    grant = stores.grant("a")
    assert await stores.grants.approve(grant, stores.code("a", "ada"), "once", now + 600)
    ambient.time += 299
    assert await sweep(stores) == 0
    ambient.time += 1
    assert await sweep(stores) == 1
    assert await stores.count("grants") == await stores.count("authorization_codes") == 0


async def test_a_connection_that_can_come_back_stays(stores: Stores, ambient: FixedAmbient) -> None:
    await stores.connect("a")
    ambient.time += 29 * DAY
    await stores.sessions.close_idle(ambient.now())
    await sweep(stores)
    assert await stores.grants.find("a") is not None
    await stores.rotate("t-a", "t-a2")
    assert stores.live == ["new"]


async def test_a_connection_that_cannot_come_back_goes(stores: Stores, ambient: FixedAmbient) -> None:
    await stores.connect("a")
    await stores.connect("b")
    await stores.grants.end(ambient.now(), "revoked", grant_id="b")
    ambient.time += 62 * DAY
    await stores.sessions.close_idle(ambient.now())
    await sweep(stores)
    for table in ("grants", "authorization_codes", "refresh_tokens", "sessions", "used_once"):
        assert await stores.count(table) == 0, table


async def test_what_counts_once_is_remembered_as_long_as_it_could_come_again(
    stores: Stores, ambient: FixedAmbient
) -> None:
    await stores.connect("a")
    ambient.time += 599
    await sweep(stores)
    assert await stores.count("used_once") == 1
    ambient.time += 1
    await sweep(stores)
    assert await stores.count("used_once") == 0
