"""Whether a step belongs to a story: what clients do in one attempt, and what is another."""

from functools import lru_cache

from ..models.records import StepKind, Story
from . import client_profiles
from .course import went_well
from .taken import Taken

# Within these, what comes from an address without saying whose it is belongs to what it did before.
SAME_ADDRESS, SAME_CLIENT = 600, 3600
# A client that is connected may look around again before it uses what it has: many do at every start. And a vendor's
# requests may come from several addresses.
COMING_BACK = 60
MOST_KNOWN = 1000  # clients and programs whose vendor need not be looked for again

# The person's browser takes these steps, not the client.
BROWSER: frozenset[StepKind] = frozenset({"authorize", "sign-in", "consent", "allowed", "denied"})
# Steps of a client that has its access already.
COMES_BACK: frozenset[StepKind] = frozenset({"refresh", "mcp", "revocation"})


def is_another(story: Story, taken: Taken) -> bool:
    """Whether a step that names nobody begins another attempt than the last one from its address."""
    match taken.kind:
        case "registration":
            return story.client_id is not None
        case "challenge" | "discovery" | "mcp":
            return _is_connected(story)
        case "token" | "refresh" | "lost":
            return taken.status >= 400 and _is_connected(story)
    return False


def is_another_program(story: Story, taken: Taken) -> bool:
    """Whether a step of a program that is new to the story is another client's.

    It is, when both are known by what they call themselves, or when it begins anew with what was done already: a
    client that is several programs does not do the same with each.
    """
    if taken.kind in BROWSER or taken.user_agent in story.user_agents or not story.user_agents:
        return False
    asks, asked = claimed_vendor(taken.user_agent), {claimed_vendor(one) for one in story.user_agents} - {None}
    if asks is not None and asked:
        return asks not in asked
    return any(step.what == taken.what and step.kind == taken.kind for step in story.steps)


def vendor_of(taken: Taken) -> str | None:
    """Whose client takes the step, as far as that can be told."""
    if taken.kind not in BROWSER:
        return claimed_vendor(taken.user_agent)
    return None if taken.client_id is None else _publisher(taken.client_id)


@lru_cache(MOST_KNOWN)
def _publisher(client_id: str) -> str | None:
    profile = client_profiles.of(client_id, ())
    return profile.profile_id if profile else None


@lru_cache(MOST_KNOWN)
def claimed_vendor(user_agent: str) -> str | None:
    """Whose a program is, it says."""
    profile = client_profiles.guess(None, user_agent)
    return profile.profile_id if profile else None


def leads_to(taken: Taken, story: Story, first: Story, now: int) -> bool:
    """Whether what was looked at in ``first`` may be the beginning of ``story``, whose step this is."""
    if taken.kind not in COMES_BACK:
        return first.last_at > now - SAME_ADDRESS
    # Beside a client that is connected, another may fail: only what the same programs did just now is taken.
    known = {*story.user_agents, taken.user_agent}
    return taken.status < 400 and first.last_at > now - COMING_BACK and known.issuperset(first.user_agents)


def is_corrected(story: Story, taken: Taken) -> bool:
    """Whether the last that was done is an authorization request which was refused, from the same address: of this
    the client has learnt, or it has only looked how it is refused."""
    last = next((step for step in reversed(story.steps) if step.kind not in ("challenge", "discovery")), None)
    refused = last is not None and last.kind == "authorize" and last.error is not None
    return refused and taken.address in story.addresses


def is_only_claimed(taken: Taken) -> bool:
    """Whether anybody who knows a client_id can have taken this step: many have one that everybody knows."""
    return taken.kind in ("token", "refresh") and taken.status >= 400


def _is_connected(story: Story) -> bool:
    return any(step.kind == "mcp" and went_well(step.kind, step.status, step.error) for step in story.steps)
