"""Steps of clients, joined to stories: one for each attempt to connect."""

from collections.abc import Iterable, Iterator
from itertools import islice

from ..ambient import Ambient
from ..models.records import Step, Story
from .belonging import (
    BROWSER,
    COMES_BACK,
    COMING_BACK,
    SAME_ADDRESS,
    SAME_CLIENT,
    claimed_vendor,
    is_another,
    is_another_program,
    is_corrected,
    is_only_claimed,
    leads_to,
    vendor_of,
)
from .course import Course, went_well
from .taken import Taken, cleaned

KEPT = 30 * 86400
MOST_STORIES, MOST_STEPS = 1000, 60
MOST_NAMES = 5  # of addresses, programs, attempts and sessions in one story
# Of one address: stories in which nobody has said who it is, and those that came to no token.
# Where there are more of the latter than a person makes who tries again, they are worth no more than looks.
MOST_NAMELESS, MOST_TOKENLESS, MOST_MODEST = 4, 20, 10
MOST_ELSEWHERE = 5  # addresses of one vendor that are asked what was looked at there


class Stories:
    """In memory, and what of them is not on the disk yet."""

    def __init__(self, ambient: Ambient) -> None:
        self._ambient = ambient
        self._stories: dict[str, Story] = {}  # the one that went on last is the last
        self._by: dict[tuple[str, str], str] = {}  # the newest story by each of its names, see _keys
        # By address, the one that went on last is the last: those in which nobody has said who it is, and those
        # that came to no token.
        self._nameless: dict[str, dict[str, None]] = {}
        self._tokenless: dict[str, dict[str, None]] = {}
        self._changed: set[str] = set()
        self._removed: set[str] = set()
        self.heard: set[str] = set()  # sessions of which an MCP request has come

    def load(self, stories: Iterable[Story]) -> None:
        for story in stories:
            self._keep(story)
            if Course(story, self._ambient.now()).works:
                self.heard.update(story.sessions)

    def every(self) -> list[Story]:
        """The newest last."""
        self._forget()
        return list(self._stories.values())

    def take_changes(self) -> tuple[list[Story], list[str]]:
        """What is to be saved, and the ids of what is to be removed."""
        self._forget()
        changed, removed = [self._stories[story_id] for story_id in self._changed], list(self._removed)
        self._changed.clear()
        self._removed.clear()
        return changed, removed

    def join(self, taken: Taken, now: int, times: int = 1) -> None:
        """``times``: it was taken so often in a row."""
        taken = cleaned(taken)
        story = self._find(taken, now)
        if story is None:
            if taken.client_id is None and taken.kind == "sign-in":
                return  # A person may sign in for nothing.
            self._make_room(taken.address)
            story = Story(story_id=self._ambient.identifier()[:8], began_at=now, last_at=now)
        if taken.client_id is not None or taken.session_id is not None:
            story = self._with_first_steps(story, taken, now)
        program = None if taken.kind in BROWSER else taken.user_agent
        self._keep(
            story.model_copy(
                update={
                    "last_at": now,
                    "client_id": taken.client_id or story.client_id,
                    "client_name": taken.client_name or story.client_name,
                    "user_agent": story.user_agent if program is None else program,
                    "user_agents": _with(story.user_agents, program),
                    "addresses": _with(story.addresses, taken.address),
                    "attempts": _with(story.attempts, taken.attempt),
                    "sessions": _with(story.sessions, taken.session_id),
                    "steps": _next(story.steps, taken, now, times),
                }
            )
        )
        if taken.kind == "refresh" and taken.status >= 400:
            self.heard.difference_update(story.sessions)  # Who goes on all the same is news.
        self._changed.add(story.story_id)

    def _find(self, taken: Taken, now: int) -> Story | None:
        story = self._at("session", taken.session_id) or self._at("attempt", taken.attempt)
        if story is not None:
            return story
        if taken.client_id is None:
            return self._of_address(taken, now)
        story = self._at("client", taken.client_id)
        if story is not None and is_only_claimed(taken) and taken.address not in story.addresses:
            return None
        if story is None or taken.kind == "refresh":
            return story
        # Another authorization of the same client is another story: another try, or another device.
        another = taken.kind == "authorize" and bool(story.attempts) and not is_corrected(story, taken)
        return None if another or story.last_at <= now - SAME_CLIENT else story

    def _of_address(self, taken: Taken, now: int) -> Story | None:
        """Who does not say so goes on with what the same program did there, else with what was done there last."""
        story = None if taken.kind in BROWSER else self._at("program", _program(taken.address, taken.user_agent))
        if story is None:
            story = self._at("address", taken.address)
            if story is not None and is_another_program(story, taken) and self._has_room(taken.address):
                return None
        if story is None or story.last_at <= now - SAME_ADDRESS or is_another(story, taken):
            return None
        return story

    def _elsewhere(self, story: Story, taken: Taken, now: int) -> Iterator[Story]:
        """What the client's vendor has begun at other addresses a moment ago: nobody has said there who it is."""
        vendor = None if taken.kind == "registration" or taken.kind in COMES_BACK else vendor_of(taken)
        if vendor is None:
            return  # Anybody registers, and who comes back has begun long ago.
        for first in reversed(self._stories.values()):
            if first.last_at <= now - COMING_BACK:
                return
            if first.client_id is None and first is not story and vendor in map(claimed_vendor, first.user_agents):
                yield first

    def _has_room(self, address: str) -> bool:
        return len(self._nameless.get(address, ())) < MOST_NAMELESS

    def _at(self, kind: str, value: str | None) -> Story | None:
        story_id = None if value is None else self._by.get((kind, value))
        return None if story_id is None else self._stories[story_id]

    def _with_first_steps(self, story: Story, taken: Taken, now: int) -> Story:
        """What the same address looked at before it said whose client it is, belongs to this story."""
        elsewhere = list(islice(self._elsewhere(story, taken, now), MOST_ELSEWHERE))
        # A browser does not say for which program it came; of some clients it is known.
        own = [] if elsewhere and taken.kind in BROWSER else self._first_steps(story, taken, now)
        for first in own:
            self._drop(first.story_id)
            story = _begun(story, first).model_copy(
                update={
                    "addresses": _with(story.addresses, *first.addresses),
                    "user_agent": first.user_agent or story.user_agent,
                    "user_agents": _with(story.user_agents, *first.user_agents),
                }
            )
        if own:
            return story
        # Anybody can call himself so: the story has these steps, and what comes from there later is not the client's.
        for first in elsewhere:
            self._drop(first.story_id)
            story = _begun(story, first)
        return story

    def _first_steps(self, story: Story, taken: Taken, now: int) -> list[Story]:
        """Of the same program; of another where there is no other choice, for some clients are several programs.

        Of a client that comes back it is known which they are: what each has looked at is taken.
        """
        found = [self._stories[one] for one in self._nameless.get(taken.address, ()) if one != story.story_id]
        found = [first for first in found if leads_to(taken, story, first, now)]
        if taken.kind in COMES_BACK:
            return found
        if taken.kind in BROWSER:
            return found if len(found) == 1 else []
        own = [first for first in found if taken.user_agent in first.user_agents]
        if own:
            return own[-1:]
        return found if len(found) == 1 and not is_another_program(found[0], taken) else []

    def _keep(self, story: Story) -> None:
        before = self._stories.pop(story.story_id, None)
        if before is not None:
            self._unlink(before)
        self._stories[story.story_id] = story
        self._by.update((key, story.story_id) for key in _keys(story))
        for index in self._indexes(story):
            for address in story.addresses:
                index.setdefault(address, {})[story.story_id] = None

    def _unlink(self, story: Story) -> None:
        for key in _keys(story):
            if self._by.get(key) == story.story_id:
                del self._by[key]
        for index in self._indexes(story):
            for address in story.addresses:
                others = index[address]
                del others[story.story_id]
                if not others:
                    del index[address]

    def _indexes(self, story: Story) -> Iterator[dict[str, dict[str, None]]]:
        if story.client_id is None:
            yield self._nameless
        if not story.sessions:
            yield self._tokenless

    def _make_room(self, address: str) -> None:
        """For another story that begins there, at the cost of what began there and came to nothing."""
        others = [self._stories[one] for one in self._tokenless.get(address, ())]
        if len(others) >= MOST_TOKENLESS:
            self._drop(min(others, key=_has_come_far).story_id)

    def _drop(self, story_id: str) -> None:
        story = self._stories.pop(story_id)
        self._unlink(story)
        self.heard.difference_update(story.sessions)
        self._changed.discard(story_id)
        self._removed.add(story_id)

    def _forget(self) -> None:
        """What is old, and what is too much: of what strangers can make up, first that of whoever makes up the most."""
        old = self._ambient.now() - KEPT
        for story in list(self._stories.values()):
            if story.last_at > old:
                break
            self._drop(story.story_id)
        surplus = len(self._stories) - MOST_STORIES
        if surplus > 0:
            for story in sorted(self._stories.values(), key=self._is_worth)[:surplus]:
                self._drop(story.story_id)

    def _is_worth(self, story: Story) -> tuple[bool, bool, bool, int, int]:
        far, signed_in, last_at = _has_come_far(story)
        beside = min((len(self._tokenless.get(one, ())) for one in story.addresses), default=0)
        # Who only looks needs no client, and has as many addresses as he likes.
        asked = beside <= MOST_MODEST and any(map(_is_of_a_page, story.steps))
        return far, signed_in, asked, -beside, last_at


def _keys(story: Story) -> Iterator[tuple[str, str]]:
    yield from (("session", one) for one in story.sessions)
    yield from (("attempt", one) for one in story.attempts)
    for address in story.addresses:
        yield ("address", address)
        yield from (("program", _program(address, one)) for one in story.user_agents)
    if story.client_id is not None:
        yield ("client", story.client_id)


def _program(address: str, user_agent: str) -> str:
    return f"{address} {user_agent}"


def _begun(story: Story, first: Story) -> Story:
    """It has begun with the steps of ``first``."""
    earlier, later = sorted((first, story), key=lambda one: one.began_at)
    steps = sorted([*earlier.steps, *later.steps], key=lambda step: step.at)
    return story.model_copy(update={"began_at": earlier.began_at, "steps": _shortened(tuple(steps))})


def _has_come_far(story: Story) -> tuple[bool, bool, int]:
    """Whether it was given a token, whether somebody has signed in for it, and when it went on last."""
    return bool(story.sessions), any(map(_needs_a_person, story.steps)), story.last_at


def _needs_a_person(step: Step) -> bool:
    return step.kind in ("allowed", "denied") or (step.kind == "consent" and step.status == 200)


def _is_of_a_page(step: Step) -> bool:
    """Whether somebody was shown one, for a client that is known."""
    return step.kind in BROWSER and went_well(step.kind, step.status, step.error) is True


def _with(known: tuple[str, ...], *more: str | None) -> tuple[str, ...]:
    new = [one for one in more if one and one not in known]
    return (*known, *new)[-MOST_NAMES:]


def _next(steps: tuple[Step, ...], taken: Taken, now: int, times: int) -> tuple[Step, ...]:
    """With this step; a client that does the same again and again makes the story no longer."""
    if steps and _is_same(steps[-1], taken):
        return (*steps[:-1], steps[-1].model_copy(update={"times": steps[-1].times + times}))
    step = Step(at=now, kind=taken.kind, status=taken.status, what=taken.what, error=taken.error, times=times)
    return _shortened((*steps, step))


def _is_same(step: Step, taken: Taken) -> bool:
    was = (step.kind, step.status, step.what, step.error)
    return was == (taken.kind, taken.status, taken.what, taken.error)


def _shortened(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The beginning tells how it was set up, the end how it ended."""
    return steps if len(steps) <= MOST_STEPS else (*steps[: MOST_STEPS // 2], *steps[-MOST_STEPS // 2 + 1 :])
