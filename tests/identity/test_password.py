"""Signing in with a password: one answer for every failure, limits, and a browser that is known."""

import re
from contextlib import closing

import argon2
import pytest

from mcpauth.app import Services
from mcpauth.identity import password as passwords
from mcpauth.models.records import Identity, User
from tests.browser import Browser, Page
from tests.conftest import COST, PASSWORD, FixedAmbient

SIGN_IN = "/auth/oauth/signin"
WRONG = "not the password at all"


async def attempt(browser: Browser, name: str, password: str = WRONG) -> Page:
    """One attempt at the sign-in page."""
    return await browser.sign_in(await browser.get(SIGN_IN), name, password)


def signed_in(page: Page) -> bool:
    return "You are signed in" in page.text


async def test_the_right_password_signs_in(browser: Browser, owner: User) -> None:
    assert signed_in(await attempt(browser, "ada", PASSWORD))
    assert "ada" in (await browser.get("/")).text


async def test_a_name_is_the_same_in_any_case(browser: Browser, owner: User) -> None:
    assert signed_in(await attempt(browser, "ADA", PASSWORD))


@pytest.mark.parametrize("password", ["", "the password of nobody", PASSWORD + " ", " " + PASSWORD, PASSWORD.upper()])
async def test_every_failure_looks_the_same(browser: Browser, owner: User, services: Services, password: str) -> None:
    """Unknown name, wrong password, somebody without a password: same status, same headers, same body."""
    identity = Identity(provider="github", provider_id="1", login="bob")
    await services.users.add("u2", "bob", "member", services.ambient.now(), identity=identity)
    answers = []
    for name in ("ada", "bob", "eve"):
        page = await attempt(browser, name, password)
        assert page.status == 401
        body = re.sub(r'name="_xsrf" value="[^"]*"', "", page.body).replace(f'value="{name}"', "")
        headers = {key: value for key, value in page.headers.get_all() if key not in ("Date", "Content-Length")}
        answers.append((body, headers))
    assert answers[0] == answers[1] == answers[2]
    assert "Name or password is wrong." in answers[0][0]


async def test_a_name_is_shown_back_without_becoming_markup(browser: Browser, owner: User) -> None:
    page = await attempt(browser, '"><script>alert(1)</script>')
    assert page.status == 401
    assert "<script>alert" not in page.body


async def test_ten_failures_from_one_address_are_enough(
    browser: Browser, other_browser: Browser, owner: User, ambient: FixedAmbient
) -> None:
    for number in range(10):
        assert (await attempt(browser, f"name-{number}")).status == 401
        ambient.time += 1
    refused = await attempt(browser, "ada", PASSWORD)
    assert refused.status == 429
    assert refused.headers["Retry-After"] == str(15 * 60 - 10)
    assert "Try again in 15 minutes" in refused.text
    assert signed_in(await attempt(other_browser, "ada", PASSWORD))
    ambient.time += 15 * 60 - 10
    assert signed_in(await attempt(browser, "ada", PASSWORD))


async def test_ten_failures_for_one_name_are_enough_from_wherever(
    browser: Browser, owner: User, ambient: FixedAmbient
) -> None:
    for number in range(10):
        browser.address = f"203.0.113.{number}"
        assert (await attempt(browser, "Ada" if number % 2 else "ada")).status == 401
    browser.address = "203.0.113.200"
    refused = await attempt(browser, "ada", PASSWORD)
    assert refused.status == 429
    assert refused.headers["Retry-After"] == str(15 * 60)
    # It is the same for a name that nobody has, and no limit for another one.
    assert (await attempt(browser, "eve")).status == 401
    ambient.time += 15 * 60
    assert signed_in(await attempt(browser, "ada", PASSWORD))


async def test_an_unknown_name_is_limited_like_a_known_one(browser: Browser, owner: User) -> None:
    for number in range(10):
        browser.address = f"203.0.113.{number}"
        assert (await attempt(browser, "eve")).status == 401
    browser.address = "203.0.113.200"
    assert (await attempt(browser, "eve")).status == 429


async def test_a_customers_whole_ipv6_network_is_one_address(browser: Browser, owner: User) -> None:
    for number in range(10):
        browser.address = f"2001:db8:1:2::{number:x}"
        assert (await attempt(browser, f"name-{number}")).status == 401
    assert (await attempt(browser, "ada", PASSWORD)).status == 429
    browser.address = "2001:db8:1:3::1"
    assert signed_in(await attempt(browser, "ada", PASSWORD))


async def test_successes_do_not_count(browser: Browser, owner: User, other_browser: Browser) -> None:
    for _ in range(12):
        browser.cookies.clear()
        assert signed_in(await attempt(browser, "ada", PASSWORD))


async def test_strangers_cannot_lock_the_owner_out(browser: Browser, other_browser: Browser, owner: User) -> None:
    assert signed_in(await attempt(browser, "ada", PASSWORD))
    await browser.submit(page := await browser.get("/"), page.form("_xsrf"), {})
    # Even from the owner's own address.
    other_browser.address = browser.address
    for _ in range(10):
        assert (await attempt(other_browser, "ada")).status == 401
    assert (await attempt(other_browser, "ada", PASSWORD)).status == 429
    assert signed_in(await attempt(browser, "ada", PASSWORD))


async def test_a_known_browser_has_a_limit_too(browser: Browser, owner: User, ambient: FixedAmbient) -> None:
    assert signed_in(await attempt(browser, "ada", PASSWORD))
    del browser.cookies["__Host-mcpauth_session"]
    for number in range(10):
        browser.address = f"203.0.113.{number}"
        assert (await attempt(browser, "ada")).status == 401
    assert (await attempt(browser, "ada", PASSWORD)).status == 429
    ambient.time += 15 * 60
    assert signed_in(await attempt(browser, "ada", PASSWORD))


async def test_a_browser_is_known_for_its_own_person_only(
    browser: Browser, other_browser: Browser, owner: User, services: Services
) -> None:
    hashed = await services.passwords.hash(PASSWORD)
    await services.users.add("u2", "bob", "member", services.ambient.now(), password_hash=hashed)
    assert signed_in(await attempt(browser, "bob", PASSWORD))
    del browser.cookies["__Host-mcpauth_session"]
    for _ in range(10):
        assert (await attempt(other_browser, "ada")).status == 401
    assert (await attempt(browser, "ada", PASSWORD)).status == 429


async def test_a_made_up_known_browser_is_a_stranger(browser: Browser, other_browser: Browser, owner: User) -> None:
    assert signed_in(await attempt(browser, "ada", PASSWORD))
    # Sealed for another purpose.
    sealed = browser.cookies["__Host-mcpauth_known"]
    for _ in range(10):
        assert (await attempt(other_browser, "ada")).status == 401
    other_browser.cookies["__Host-mcpauth_known"] = sealed[:-6] + "AAAAAA"
    assert (await attempt(other_browser, "ada", PASSWORD)).status == 429


async def test_many_at_once_do_not_slip_through_the_limit(browser: Browser, owner: User) -> None:
    import asyncio

    page = await browser.get(SIGN_IN)
    answers = await asyncio.gather(*(browser.sign_in(page, "ada", WRONG) for _ in range(14)))
    assert sorted(answer.status for answer in answers) == [401] * 10 + [429] * 4


async def test_the_form_of_another_site_is_refused(browser: Browser, owner: User) -> None:
    page = await browser.get(SIGN_IN)
    form = page.form("password")
    token = dict(form.fields)["_xsrf"]
    body = f"username=ada&password={PASSWORD}&_xsrf="
    for sent, headers in (
        (body, {}),
        (body + "x", {}),
        (body + token, {"Sec-Fetch-Site": "cross-site"}),
        (body + token, {"Sec-Fetch-Site": "same-site"}),
    ):
        refused = await browser.request(SIGN_IN, "POST", sent.replace(" ", "+"), **headers)
        assert refused.status == 403
    assert "__Host-mcpauth_session" not in browser.cookies
    assert (await browser.request(SIGN_IN, "POST", (body + token).replace(" ", "+"))).status == 303


async def test_passwords_are_kept_as_argon2id(owner: User, services: Services) -> None:
    stored = await services.users.password_hash(owner.user_id)
    assert stored is not None
    assert stored.startswith("$argon2id$")
    assert PASSWORD not in stored


async def test_each_guess_costs_memory_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "COST", COST)
    with closing(passwords.Passwords()) as outside_of_tests:
        hashed = await outside_of_tests.hash(PASSWORD)
        assert hashed.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
        # For a name that nobody has, as for any other.
        nobodys = outside_of_tests._nobodys
        assert argon2.extract_parameters(nobodys) == argon2.extract_parameters(hashed)
        with pytest.raises(argon2.exceptions.VerifyMismatchError):
            argon2.PasswordHasher().verify(nobodys, PASSWORD)
        assert not await outside_of_tests.verify(None, PASSWORD)
