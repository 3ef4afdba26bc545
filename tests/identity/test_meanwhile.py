"""What changes while somebody is signing in counts for them already."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator

import pytest

from mcpauth.app import Services
from mcpauth.models.records import User
from tests.browser import Browser, Page
from tests.conftest import PASSWORD

NEW_PASSWORD = "another horse, another battery"
SIGN_IN = "/auth/oauth/signin"

Change = Callable[[Services, str], Awaitable[object]]


async def another_password(services: Services, new_hash: str) -> None:
    await services.users.set_password("user-bob", new_hash, services.ambient.now())


async def pending(services: Services, new_hash: str) -> None:
    await services.operations.run("user role", {"name": "bob", "role": "pending"})


async def removed(services: Services, new_hash: str) -> None:
    await services.operations.run("user remove", {"name": "bob"})


CHANGES = pytest.mark.parametrize("change", [another_password, pending, removed])


@pytest.fixture
def bob(io_loop: object, services: Services, owner: User) -> User:
    """A member who signs in with PASSWORD."""

    async def add() -> User:
        hashed = await services.passwords.hash(PASSWORD)
        user: User = await services.users.add("user-bob", "bob", "member", services.ambient.now(), password_hash=hashed)
        return user

    made: User = io_loop.run_sync(add)  # type: ignore[attr-defined]
    return made


class Hold:
    """Keeps every thread that verifies passwords busy until told otherwise."""

    def __init__(self, services: Services) -> None:
        self._threads = services.passwords._threads
        self._busy = threading.Barrier(self._threads._max_workers + 1)
        self._go_on = threading.Event()

    def begin(self) -> None:
        for _ in range(self._threads._max_workers):
            self._threads.submit(self._work)
        self._busy.wait()

    def _work(self) -> None:
        self._busy.wait()
        self._go_on.wait()

    async def somebody_waits(self) -> None:
        """Once a password is to be verified; the test's own time limit ends the wait."""
        while self._threads._work_queue.empty():  # noqa: ASYNC110 - the queue sets no Event
            await asyncio.sleep(0.01)

    def end(self) -> None:
        self._go_on.set()


@pytest.fixture
def hold(services: Services) -> Iterator[Hold]:
    hold = Hold(services)
    yield hold
    hold.end()


def is_in(page: Page) -> bool:
    return "You signed in as bob" in page.text


@CHANGES
async def test_a_session_is_not_opened_for_who_was_changed_while_the_password_was_verified(
    browser: Browser, services: Services, bob: User, hold: Hold, change: Change
) -> None:
    page = await browser.get(SIGN_IN)
    new_hash = await services.passwords.hash(NEW_PASSWORD)
    hold.begin()
    signing_in = asyncio.create_task(browser.sign_in(page, "bob", PASSWORD))
    await hold.somebody_waits()
    await change(services, new_hash)
    hold.end()
    refused = await signing_in
    assert refused.status == 403
    assert "You cannot sign in" in refused.text
    assert "__Host-mcpauth_session" not in browser.cookies
    assert await services.database.fetch_all("select 1 from sessions") == []
    assert not is_in(await browser.get(SIGN_IN))


@CHANGES
async def test_a_session_is_not_opened_for_who_was_changed_after_the_password_was_verified(
    services: Services, bob: User, change: Change
) -> None:
    new_hash = await services.passwords.hash(NEW_PASSWORD)
    user, password_hash = await services.password_sign_in.sign_in("bob", PASSWORD, "203.0.113.7", None)
    await change(services, new_hash)
    assert await services.browser_sessions.open(user, None, password_hash) is None
    assert services.sessions.list_live(services.ambient.now(), user.user_id) == []


async def test_whoever_was_not_changed_gets_in(browser: Browser, services: Services, bob: User, hold: Hold) -> None:
    page = await browser.get(SIGN_IN)
    hold.begin()
    signing_in = asyncio.create_task(browser.sign_in(page, "bob", PASSWORD))
    await hold.somebody_waits()
    # Somebody else's password is nothing to bob.
    other_hash = await services.users.password_hash("user-bob")
    assert other_hash is not None
    await services.users.set_password("user-ada", other_hash, services.ambient.now())
    hold.end()
    assert is_in(await signing_in)


async def test_no_session_of_the_old_password_outlives_it(
    new_browser: Callable[[], Browser], services: Services, bob: User
) -> None:
    browsers = [new_browser() for _ in range(6)]
    pages = [await browser.get(SIGN_IN) for browser in browsers]
    await asyncio.gather(
        *(one.sign_in(page, "bob", PASSWORD) for one, page in zip(browsers, pages, strict=True)),
        services.operations.run("user password", {"name": "bob", "password": NEW_PASSWORD}),
    )
    assert [is_in(await browser.get(SIGN_IN)) for browser in browsers] == [False] * 6
    assert services.sessions.list_live(services.ambient.now(), "user-bob") == []
    again = new_browser()
    assert is_in(await again.sign_in(await again.get(SIGN_IN), "bob", NEW_PASSWORD))
