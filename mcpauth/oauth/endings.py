"""How connection attempts end, and what to do about it: a table of the endings that are known.

What a client tells its user when a connection fails is rarely the reason. Each row is a way in which attempts were
seen to end, recognized by what reached this server; the first that fits is the verdict.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

from ..models.records import Step, StepKind, Story

State = Literal["connected", "looked at", "going on", "waiting", "stopped"]

# A client that is not done goes on within this; a person at a page takes longer, and a page is good for an hour.
PATIENCE, PERSON, PAGE = 60, 600, 3600

# What `doctor` calls itself. Strangers may do so too: then their looks around are taken for its own, and nothing else.
DOCTOR = ("mcpauth-doctor",)

AGAIN = "Connect again from the client."
RECONNECT = "Remove the connection in the client and add it again: it then registers anew."


class Verdict(NamedTuple):
    """``cause`` and ``fix`` are empty where nothing is wrong."""

    state: State
    text: str
    cause: str = ""
    fix: str = ""


class Course:
    """A story, asked for what matters about its end."""

    def __init__(self, story: Story, now: int) -> None:
        self.steps, self.story = story.steps, story
        self.quiet = now - story.last_at  # seconds

    def last(self, *kinds: StepKind) -> Step | None:
        return next((step for step in reversed(self.steps) if step.kind in kinds), None)

    def has(self, *kinds: StepKind) -> bool:
        return self.last(*kinds) is not None

    def since(self, kind: StepKind) -> tuple[Step, ...]:
        """The steps after the last successful one of that kind; none when there is none."""
        for position in range(len(self.steps) - 1, -1, -1):
            if self.steps[position].kind == kind and self.steps[position].status < 400:
                return self.steps[position + 1 :]
        return ()

    def has_just_refreshed(self) -> bool:
        """Whether the last step may have been on its way when the client refreshed."""
        refreshed = next((step for step in reversed(self.steps) if step.kind == "refresh" and step.status < 400), None)
        return refreshed is not None and self.story.last_at - refreshed.at <= PATIENCE

    def succeeded(self, *kinds: StepKind) -> bool:
        return any(step.kind in kinds and step.status < 400 for step in self.steps)

    def allowed(self) -> bool:
        """Whether the person pressed Allow."""
        return any(_is_decision(step) and step.error is None and step.status == 303 for step in self.steps)

    def refused(self, kind: StepKind, *words: str) -> bool:
        """Whether the last step of that kind was refused, for a reason that has one of the words."""
        step = self.last(kind)
        return step is not None and step.error is not None and any(word in step.error for word in words or ("",))

    def ends_with(self, *kinds: StepKind) -> bool:
        """Whatever looked around since: that may have been somebody else at the same address."""
        steps = [step for step in self.steps if step.kind in kinds or step.kind not in ("challenge", "discovery")]
        return bool(steps) and steps[-1].kind in kinds


def _is_decision(step: Step) -> bool:
    return step.kind == "consent" and step.what.startswith("POST")


class Ending(NamedTuple):
    fits: Callable[[Course], bool]
    verdict: Verdict


def _stopped(text: str, cause: str, fix: str) -> Verdict:
    return Verdict("stopped", text, cause, fix)


ENDINGS = (
    Ending(
        lambda c: bool(c.steps) and c.steps[-1].status == 421,
        _stopped(
            "asked under a name that is not this server's",
            "The client, or the proxy in front, uses another host name than MCP_OAUTH_PUBLIC_URL has.",
            "Set MCP_OAUTH_PUBLIC_URL to the address that clients use, and let the proxy pass the Host header on.",
        ),
    ),
    # After it was connected.
    Ending(
        lambda c: c.refused("refresh", "used before"),
        _stopped(
            "access ended: an old refresh token came back",
            "The client lost the answer to a refresh and used the token before it, or somebody copied the token.",
            "If you know of no copy, connect again. Otherwise look at who may read the client's files first.",
        ),
    ),
    Ending(
        lambda c: c.ends_with("refresh") and c.refused("refresh", "expired", "has ended", "not known"),
        _stopped(
            "access ended: the client cannot refresh any more",
            "Its refresh token has expired or was ended, by you or by a newer connection.",
            AGAIN,
        ),
    ),
    Ending(
        lambda c: c.ends_with("mcp") and c.refused("mcp", "expired") and not c.has_just_refreshed(),
        _stopped(
            "access expired, and the client did not refresh",
            "Some clients come back after a long pause with the old access token and never use their refresh token.",
            "Connect again. If it happens every day, give this client a longer access token: client lifetime.",
        ),
    ),
    Ending(
        lambda c: c.ends_with("mcp") and c.refused("mcp", "session of this access token"),
        _stopped(
            "its session has ended",
            "It was signed out: by you, by a sixth client, or after a day without use; it has not refreshed since.",
            AGAIN,
        ),
    ),
    Ending(
        lambda c: c.refused("mcp", "another resource") and not c.succeeded("mcp"),
        _stopped(
            "token issued, but it is for another address",
            "The client asked for a token for one MCP address and uses it at another: the addresses must be equal.",
            "Give the client exactly the MCP URL that the start page shows, and connect again.",
        ),
    ),
    Ending(
        lambda c: c.refused("mcp", "Origin") and not c.succeeded("mcp"),
        _stopped(
            "token issued, but the page's Origin is not allowed",
            "The client runs in a web page of another site, which may not call this server.",
            "If you trust that site, add its origin to MCP_OAUTH_ALLOWED_ORIGINS.",
        ),
    ),
    Ending(
        lambda c: c.has("token") and c.ends_with("mcp") and c.refused("mcp") and not c.succeeded("mcp"),
        _stopped(
            "token issued, but the first MCP request was refused",
            "The client is connected, and shows no tools: what it sent to /mcp was not accepted (see the last step).",
            "If the client is up to date, report this step: it names what was refused.",
        ),
    ),
    Ending(lambda c: c.succeeded("mcp"), Verdict("connected", "connected")),
    # A token, and nothing after it.
    Ending(
        lambda c: any(step.kind == "challenge" for step in c.since("token")),
        _stopped(
            "token issued, but the requests to /mcp came without it",
            "Something on the way drops the Authorization header, or redirects to another host.",
            "Let nothing but tailscale serve or funnel stand in front, or make the proxy pass Authorization on.",
        ),
    ),
    Ending(
        lambda c: c.succeeded("token") and c.quiet > PATIENCE,
        _stopped(
            "token issued, but no request to /mcp came",
            "A firewall or bot filter in front of /mcp, a redirect to another host, or a fault at the client's side.",
            "Look for filters on the way to /mcp, and let the client's addresses through. Else try again later.",
        ),
    ),
    Ending(lambda c: c.succeeded("token"), Verdict("going on", "token issued; the first request to /mcp is to come")),
    Ending(
        lambda c: c.refused("token", "code_verifier"),
        _stopped(
            "the code was refused: the PKCE verifier does not fit",
            "The client mixed up two attempts, or the code was stolen on its way.",
            "Close every window of the attempt and connect again, in one window.",
        ),
    ),
    Ending(
        lambda c: c.refused("token", "already used"),
        _stopped(
            "the code was used twice, so what it brought was ended",
            "The client sent the same code again, mostly because the first answer did not reach it.",
            AGAIN,
        ),
    ),
    Ending(
        lambda c: c.refused("token", "code has expired", "code is not known"),
        _stopped(
            "the code came too late",
            "Between Allow and the client's request went more time than a code lives.",
            f"{AGAIN} If its host is slow, raise MCP_OAUTH_CODE_EXPIRY.",
        ),
    ),
    Ending(
        lambda c: c.refused("token", "redirect_uri differs"),
        _stopped(
            "the code was refused: another redirect_uri",
            "The client names another redirect_uri than it began with: a fault of the client's, often after an update.",
            RECONNECT,
        ),
    ),
    Ending(
        lambda c: c.refused("token", "invalid_client"),
        _stopped(
            "the client could not prove who it is",
            "Its secret or key is wrong or missing: set by hand wrongly, or left from a registration that is gone.",
            f"{RECONNECT} A client that you set up by hand needs the id and secret of: client add.",
        ),
    ),
    Ending(
        lambda c: c.refused("token", "temporarily_unavailable"),
        _stopped(
            "the client's keys could not be fetched",
            "This client signs its requests, and its vendor's address for the keys did not answer.",
            "Try again in some minutes; look whether this machine reaches the internet.",
        ),
    ),
    Ending(
        lambda c: c.refused("token"),
        _stopped("the token request was refused", "The last step says why.", AGAIN),
    ),
    # The person's part.
    Ending(
        lambda c: c.allowed() and c.quiet > PATIENCE,
        _stopped(
            "allowed, but the client never came for its token",
            "The browser did not reach the client's callback, or the client had forgotten the attempt: "
            "a blocked pop-up or third-party cookie, a filter, or too much time.",
            "Connect again in a fresh window without extensions, and finish within a few minutes.",
        ),
    ),
    Ending(lambda c: c.allowed(), Verdict("going on", "allowed; the client is to come for its token")),
    Ending(
        lambda c: c.refused("consent", "the person said no"),
        _stopped("denied: the person said no", "Deny was pressed on the consent page.", AGAIN),
    ),
    Ending(
        lambda c: c.refused("consent", "Waiting for approval") or c.refused("sign-in", "Waiting for approval"),
        Verdict(
            "waiting",
            "waiting for the owner's approval of the person",
            "Somebody signed in whom the owner has not let in yet.",
            "See: user list, user approve NAME. Then connect again.",
        ),
    ),
    Ending(
        lambda c: c.refused("consent", "expired", "answered this already"),
        _stopped("the consent page was too old", "It was open for more than an hour, or answered before.", AGAIN),
    ),
    Ending(
        lambda c: c.ends_with("consent") and c.quiet > PAGE,
        _stopped("the consent page was not answered", "Its window was closed, or left open for an hour.", AGAIN),
    ),
    Ending(
        lambda c: c.refused("consent", "Waiting for the owner"),
        Verdict(
            "waiting",
            "waiting for the owner's approval of the app",
            "MCP_OAUTH_REGISTRATION is approve, and no owner has let this app in yet.",
            "See: status, client approve CLIENT_ID. The page where it waits then goes on by itself.",
        ),
    ),
    Ending(
        lambda c: c.ends_with("consent"),
        Verdict("waiting", "waiting for consent", "The consent page is not answered.", "Press Allow or Deny."),
    ),
    Ending(
        lambda c: c.ends_with("sign-in") and c.refused("sign-in", "Tailscale names nobody"),
        _stopped(
            "the sign-in page was opened outside the tailnet",
            "People sign in with Tailscale here, and it names nobody at that browser: Tailscale is off on that device, "
            "the device is tagged or somebody else's, or the request came through Funnel.",
            "Switch Tailscale on there, and load the page again; or switch on another way to sign in.",
        ),
    ),
    Ending(
        lambda c: c.ends_with("sign-in") and c.refused("sign-in"),
        _stopped(
            "sign-in failed",
            "The last step says why.",
            "Sign in again. An owner who forgot the password: user password NAME.",
        ),
    ),
    Ending(
        lambda c: c.ends_with("sign-in") and c.quiet <= PERSON,
        Verdict("waiting", "waiting for sign-in", "The sign-in page is open.", "Sign in there."),
    ),
    # The authorization request.
    Ending(
        lambda c: c.refused("authorize", "not known here"),
        _stopped(
            "the client is not known here",
            "It uses a registration that is gone: removed, or from before the data directory was made anew.",
            RECONNECT,
        ),
    ),
    Ending(
        lambda c: c.refused("authorize", "document about this app"),
        _stopped(
            "the client's document could not be used",
            "Its client_id is the address of a document about it, and the last step says what is wrong with that.",
            "Try again in some minutes; look whether this machine reaches the internet, and its name servers answer.",
        ),
    ),
    Ending(
        lambda c: c.refused("authorize", "leads somewhere else"),
        _stopped(
            "the redirect_uri is not one that the client registered",
            "The client changed its callback address since it registered, or the link was tampered with.",
            RECONNECT,
        ),
    ),
    Ending(
        lambda c: c.refused("authorize", "PKCE"),
        _stopped(
            "the client does not use PKCE",
            "Its request has no code_challenge with S256, which is required.",
            "Update the client; one that cannot do PKCE cannot be connected.",
        ),
    ),
    Ending(
        lambda c: c.refused("authorize", "invalid_target"),
        _stopped(
            "the client asked for an address that is not served here",
            "Its resource is not one of this server's MCP URLs.",
            "Give the client exactly the MCP URL that the start page shows.",
        ),
    ),
    Ending(
        lambda c: c.refused("authorize"),
        _stopped("the authorization request was refused", "The last step says why.", RECONNECT),
    ),
    Ending(
        lambda c: c.has("authorize") and c.quiet > PERSON,
        _stopped(
            "sign-in was begun, and not finished",
            "The person did not come back from signing in, or the window was closed.",
            AGAIN,
        ),
    ),
    Ending(lambda c: c.has("authorize"), Verdict("waiting", "waiting for sign-in")),
    # Registration and discovery.
    Ending(
        lambda c: c.refused("registration", "redirect_uri"),
        _stopped(
            "registration refused: its redirect URIs",
            "One of the addresses that would get codes is not acceptable (see the step).",
            "Update the client. If it is your own, use https or a loopback address.",
        ),
    ),
    Ending(
        lambda c: c.refused("registration"),
        _stopped("registration refused", "The step says what of the client's request was not accepted.", AGAIN),
    ),
    Ending(
        lambda c: c.succeeded("registration") and c.quiet > PATIENCE,
        _stopped(
            "registered, but nobody was sent to sign in",
            "The client opens a browser next; it was blocked, or the client gave up.",
            f"Allow pop-ups, or copy the link that the client shows. {AGAIN}",
        ),
    ),
    Ending(
        lambda c: c.story.user_agents == DOCTOR and all(step.kind in ("challenge", "discovery") for step in c.steps),
        Verdict("looked at", "looked at by `doctor`, which goes no further"),
    ),
    Ending(
        lambda c: c.has("lost") and c.ends_with("lost"),
        _stopped(
            "the client asked at addresses that do not exist here",
            "A proxy changes the path (tailscale serve --set-path does), or the MCP URL is misspelt.",
            "Serve this server at / of its host, and give the client the MCP URL that the start page shows.",
        ),
    ),
    Ending(
        lambda c: not c.has("discovery", "registration") and c.has("challenge") and c.quiet > PATIENCE,
        _stopped(
            "asked for /mcp without a token, and went no further",
            "The client was set to use no authentication, cannot do OAuth, or only looked whether we are there.",
            "Choose OAuth in the client's settings of this connection.",
        ),
    ),
    Ending(
        lambda c: c.has("mcp") and c.quiet > PATIENCE,
        _stopped(
            "came with a token that is not good here, and went no further",
            "A token of another server, or one from before the keys were made anew.",
            RECONNECT,
        ),
    ),
    Ending(
        lambda c: c.has("discovery") and c.quiet > PATIENCE,
        _stopped(
            "read our documents, and went no further",
            "Mostly a fault at the client's side, or it had read what it needed and used a cached answer.",
            "Try again some minutes later. If it goes on, look whether the client says what it misses.",
        ),
    ),
    Ending(lambda c: True, Verdict("going on", "going on")),
)


def judge(story: Story, now: int) -> Verdict:
    course = Course(story, now)
    return next(ending.verdict for ending in ENDINGS if ending.fits(course))
