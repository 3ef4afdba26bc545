"""Connection attempts as stories: what a client did from its first look to its first MCP request, and how it ended.

Clients say little when a connection fails ("Something went wrong"); here the owner sees where it stopped. Taking
a step down costs the request nothing: it is queued, joined to its story by a task, and saved now and then.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from .. import log
from ..ambient import Ambient, fingerprint
from ..models.records import Step, StepKind, Story
from ..store.stories import StoryStore
from . import pkce

logger = logging.getLogger(__name__)

KEPT = 30 * 86400
MOST_STORIES, MOST_STEPS, MOST_WAITING = 1000, 60, 2000
AT_ONCE = 100  # steps that are taken down before others have their turn
LONGEST, LONGEST_CLIENT_ID = 200, 512
MOST_NAMES = 5  # of addresses, attempts and sessions in one story
SAVING = 2.0
# Within these, what comes from an address without saying whose it is belongs to what it did before.
SAME_ADDRESS, SAME_CLIENT = 600, 3600
# A client that is connected may look around again before it uses what it has: many do at every start.
COMING_BACK = 60

# The person's browser takes these steps, not the client.
BROWSER: frozenset[StepKind] = frozenset({"authorize", "sign-in", "consent"})


class Taken(NamedTuple):
    """A step as the web saw it. ``attempt`` is of ``attempt_of``; what is not known is None."""

    kind: StepKind
    status: int
    what: str
    address: str
    user_agent: str
    error: str | None = None
    client_id: str | None = None
    client_name: str | None = None
    attempt: str | None = None
    session_id: str | None = None


def attempt_of(code_challenge: str) -> str:
    """The same for the authorization request, the pages after it and the token request: PKCE ties them."""
    return fingerprint(code_challenge)[:16]


def attempt_of_verifier(code_verifier: str) -> str | None:
    try:
        return attempt_of(pkce.challenge_of(code_verifier))
    except UnicodeEncodeError:
        return None


class Trace:
    def __init__(self, stories: StoryStore, ambient: Ambient) -> None:
        self._store, self._ambient = stories, ambient
        self._waiting: deque[tuple[int, Taken]] = deque(maxlen=MOST_WAITING)
        self._stories: dict[str, Story] = {}  # the one that went on last is the last
        self._by: dict[tuple[str, str], str] = {}  # the newest story of a session, an attempt, a client, an address
        self._heard: set[str] = set()  # sessions of which an MCP request has come
        self._looking: dict[str, None] = {}  # addresses that looked around since; the newest is the last
        self._changed: set[str] = set()
        self._removed: set[str] = set()

    async def load(self) -> None:
        for story in await self._store.list(self._ambient.now() - KEPT):
            self._keep(story)
        self._changed.clear()

    def is_news(self, session_id: str, address: str) -> bool:
        """Whether no MCP request of this session has been taken down since somebody at ``address`` looked around."""
        return session_id not in self._heard or address in self._looking

    def add(self, taken: Taken) -> None:
        """Never raises, never waits; when steps come faster than they can be taken down, the oldest are left out."""
        # Cut at once: strangers choose how long these are.
        taken = taken._replace(
            what=_short(taken.what),
            user_agent=_short(taken.user_agent),
            error=_short(taken.error or "") or None,
            client_id=_short(taken.client_id or "", LONGEST_CLIENT_ID) or None,
            client_name=_short(taken.client_name or "") or None,
        )
        if taken.kind == "mcp" and taken.session_id is not None and taken.status < 400:
            self._heard.add(taken.session_id)
            self._looking.pop(taken.address, None)
        elif taken.kind in ("challenge", "discovery"):
            self._looking.pop(taken.address, None)
            self._looking[taken.address] = None
            if len(self._looking) > MOST_STORIES:
                del self._looking[next(iter(self._looking))]
        self._waiting.append((self._ambient.now(), taken))

    def stories(self) -> list[Story]:
        """The newest last."""
        self._take_down(len(self._waiting))
        self._forget()
        return list(self._stories.values())

    async def write(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(SAVING)
            await self.save()

    async def save(self) -> None:
        for _ in range(0, len(self._waiting), AT_ONCE):
            self._take_down(AT_ONCE)
            await asyncio.sleep(0)
        self._forget()
        changed = [self._stories[story_id] for story_id in self._changed]
        removed = list(self._removed)
        if not changed and not removed:
            return
        self._changed.clear()
        self._removed.clear()
        try:
            await self._store.save(changed, removed)
        except Exception:
            logger.exception("trace_not_saved")

    def _take_down(self, most: int) -> None:
        for _ in range(min(most, len(self._waiting))):
            now, taken = self._waiting.popleft()
            try:
                self._join(taken, now)
            except Exception:
                logger.exception("step_not_traced", extra=log.fields(kind=taken.kind))

    def _join(self, taken: Taken, now: int) -> None:
        story = self._find(taken, now)
        if story is None:
            if taken.client_id is None and taken.kind in ("lost", "sign-in"):
                return  # Scanners ask for everything, and a person may sign in for nothing.
            story = Story(story_id=self._ambient.identifier()[:8], began_at=now, last_at=now)
        if taken.client_id is not None or taken.session_id is not None:
            story = self._with_first_steps(story, taken, now)
        self._keep(
            story.model_copy(
                update={
                    "last_at": now,
                    "client_id": taken.client_id or story.client_id,
                    "client_name": taken.client_name or story.client_name,
                    "user_agent": story.user_agent if taken.kind in BROWSER else taken.user_agent,
                    "user_agents": _with(story.user_agents, None if taken.kind in BROWSER else taken.user_agent),
                    "addresses": _with(story.addresses, taken.address),
                    "attempts": _with(story.attempts, taken.attempt),
                    "sessions": _with(story.sessions, taken.session_id),
                    "steps": _next(story.steps, taken, now),
                }
            )
        )
        self._changed.add(story.story_id)

    def _find(self, taken: Taken, now: int) -> Story | None:
        story = self._at("session", taken.session_id) or self._at("attempt", taken.attempt)
        if story is not None:
            return story
        if taken.client_id is None:
            story = self._at("address", taken.address)
            fits = story is not None and story.last_at > now - SAME_ADDRESS and not _is_another(story, taken)
            return story if fits else None
        story = self._at("client", taken.client_id)
        if story is not None and _is_only_claimed(taken) and taken.address not in story.addresses:
            return None
        if story is None or taken.kind == "refresh":
            return story
        # Another authorization of the same client is another story: another try, or another device.
        fits = story.last_at > now - SAME_CLIENT and not (taken.kind == "authorize" and story.attempts)
        return story if fits else None

    def _at(self, kind: str, value: str | None) -> Story | None:
        story_id = None if value is None else self._by.get((kind, value))
        return None if story_id is None else self._stories[story_id]

    def _with_first_steps(self, story: Story, taken: Taken, now: int) -> Story:
        """What the same address looked at before it said whose client it is, belongs to this story."""
        first = self._at("nobody", taken.address)
        if first is None or first.story_id == story.story_id or not _leads_to(taken, story, first, now):
            return story
        self._drop(first.story_id)
        earlier, later = sorted((first, story), key=lambda one: one.began_at)
        steps = sorted([*earlier.steps, *later.steps], key=lambda step: step.at)
        return story.model_copy(
            update={
                "began_at": min(first.began_at, story.began_at),
                "addresses": _with(story.addresses, *first.addresses),
                "user_agent": first.user_agent or story.user_agent,
                "user_agents": _with(story.user_agents, *first.user_agents),
                "steps": _shortened(tuple(steps)),
            }
        )

    def _keep(self, story: Story) -> None:
        before = self._stories.pop(story.story_id, None)
        if before is not None:
            self._unlink(before)
        self._stories[story.story_id] = story
        self._by.update((key, story.story_id) for key in _keys(story))
        if _is_connected(story):
            self._heard.update(story.sessions)

    def _unlink(self, story: Story) -> None:
        for key in _keys(story):
            if self._by.get(key) == story.story_id:
                del self._by[key]

    def _drop(self, story_id: str) -> None:
        story = self._stories.pop(story_id)
        self._unlink(story)
        self._heard.difference_update(story.sessions)
        self._changed.discard(story_id)
        self._removed.add(story_id)

    def _forget(self) -> None:
        """What is old, and what is too much: what strangers can make up goes before what was given a token."""
        old = self._ambient.now() - KEPT
        for story in list(self._stories.values()):
            if story.last_at > old:
                break
            self._drop(story.story_id)
        surplus = len(self._stories) - MOST_STORIES
        if surplus > 0:
            ranked = sorted(
                self._stories.values(), key=lambda one: (bool(one.sessions), bool(one.attempts), one.last_at)
            )
            for story in ranked[:surplus]:
                self._drop(story.story_id)


def _keys(story: Story) -> Iterator[tuple[str, str]]:
    yield from (("session", one) for one in story.sessions)
    yield from (("attempt", one) for one in story.attempts)
    yield from (("address", one) for one in story.addresses)
    if story.client_id is not None:
        yield ("client", story.client_id)
    else:
        yield from (("nobody", one) for one in story.addresses)


def _is_another(story: Story, taken: Taken) -> bool:
    """Whether a step that names nobody begins another attempt than the last one from its address."""
    match taken.kind:
        case "registration":
            return story.client_id is not None
        case "challenge" | "discovery":
            return _is_connected(story)
    return False


def _leads_to(taken: Taken, story: Story, first: Story, now: int) -> bool:
    if taken.kind not in ("refresh", "mcp"):
        return first.last_at > now - SAME_ADDRESS
    # Beside a client that is connected, another may fail: only what the same programs did just now is taken.
    known = {*story.user_agents, taken.user_agent}
    return taken.status < 400 and first.last_at > now - COMING_BACK and known.issuperset(first.user_agents)


def _is_only_claimed(taken: Taken) -> bool:
    """Whether anybody who knows a client_id can have taken this step: many have one that everybody knows."""
    return taken.kind in ("token", "refresh") and taken.status >= 400


def _is_connected(story: Story) -> bool:
    return any(step.kind == "mcp" and step.status < 400 for step in story.steps)


def _with(known: tuple[str, ...], *more: str | None) -> tuple[str, ...]:
    new = [one for one in more if one and one not in known]
    return (*known, *new)[-MOST_NAMES:]


def _next(steps: tuple[Step, ...], taken: Taken, now: int) -> tuple[Step, ...]:
    """With this step; a client that does the same again and again makes the story no longer."""
    step = Step(at=now, kind=taken.kind, status=taken.status, what=taken.what, error=taken.error)
    if steps and steps[-1].model_copy(update={"at": now, "times": 1}) == step:
        return (*steps[:-1], step.model_copy(update={"times": steps[-1].times + 1}))
    return _shortened((*steps, step))


def _shortened(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The beginning tells how it was set up, the end how it ended."""
    return steps if len(steps) <= MOST_STEPS else (*steps[: MOST_STEPS // 2], *steps[-MOST_STEPS // 2 + 1 :])


def _short(text: str, longest: int = LONGEST) -> str:
    cut = text[:longest]
    return cut if cut.isprintable() else "".join(c for c in cut if c.isprintable())
