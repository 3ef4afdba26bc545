"""How connection attempts end, and what to do about it: a table of the endings that are known.

What a client tells its user when a connection fails is rarely the reason. Each row is a way in which attempts were
seen to end, recognized by what reached this server: by the code of an error and the words that it begins with, for
others say a little of the same. The first row that fits is the verdict.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

from ..models.records import StepKind, Story
from .course import EXPIRED, PATIENCE, PAUSED, Course

State = Literal["connected", "looked at", "signed out", "going on", "waiting", "stopped"]

# A person at a page takes longer than a client, and a page is good for an hour.
PERSON, PAGE = 600, 3600

# What `doctor` calls itself. Strangers may do so too: then their looks around are taken for its own, and nothing else.
DOCTOR = ("mcpauth-doctor",)

RESOURCE_OF_SERVER = "/.well-known/oauth-protected-resource/mcp/"

AGAIN = "Connect again from the client."
RECONNECT = "Remove the connection in the client and add it again: it then registers anew."

TOKENS: tuple[StepKind, ...] = ("token", "refresh")
STREAM = "-32600: a stream needs"
PAGES: tuple[StepKind, ...] = ("authorize", "consent")


class Verdict(NamedTuple):
    """``cause`` and ``fix`` are empty where nothing is wrong."""

    state: State
    text: str
    cause: str = ""
    fix: str = ""


class Ending(NamedTuple):
    fits: Callable[[Course], bool]
    verdict: Verdict


def _stopped(text: str, cause: str, fix: str) -> Verdict:
    return Verdict("stopped", text, cause, fix)


ENDINGS = (
    Ending(
        lambda c: bool(c.steps) and c.steps[-1].status == 500,
        _stopped(
            "this server failed at the last step",
            "An error of mcpauth's own, or of the disk: its log has a line with the reason.",
            "See the log. If it is not the disk, please report that line.",
        ),
    ),
    Ending(
        # Whose requests came through is asked by the right name: this one is a stranger's.
        lambda c: bool(c.steps) and c.steps[-1].status == 421 and not c.worked,
        _stopped(
            "asked under a name that is not this server's",
            "The client, or the proxy in front, uses another host name than MCP_OAUTH_PUBLIC_URL has.",
            "Set MCP_OAUTH_PUBLIC_URL to the address that clients use, and let the proxy pass the Host header on.",
        ),
    ),
    # What ended a grant: whatever the client tries later is refused because of that.
    Ending(
        lambda c: c.met(("refresh",), "invalid_grant: the refresh token was used before"),
        _stopped(
            "access ended: an old refresh token came back",
            "The client lost the answer to a refresh and used the token before it, or somebody copied the token.",
            "If you know of no copy, connect again. Otherwise look at who may read the client's files first.",
        ),
    ),
    Ending(
        lambda c: c.met(("token",), "invalid_grant: the code was already used"),
        _stopped(
            "the code was used twice, so what it brought was ended",
            "The client sent the same code again, mostly because the first answer did not reach it.",
            AGAIN,
        ),
    ),
    Ending(
        lambda c: c.met(("revocation",)),
        Verdict(
            "signed out",
            "signed out by the client itself",
            "The client gave its access back: the connection was removed there, or its user signed out.",
            AGAIN,
        ),
    ),
    # At the owner's word.
    Ending(
        lambda c: c.fails(("token", "refresh", "mcp"), *PAUSED),
        _stopped(
            "paused: it can go on when it is resumed",
            "You have paused this client, or this connection of it. It keeps what it has.",
            "Resume it: client resume CLIENT_ID, or session resume. After that the client goes on by itself.",
        ),
    ),
    Ending(
        lambda c: c.refused(PAGES, "access_denied: This app is paused"),
        _stopped(
            "paused: nobody can connect it",
            "You have paused this client.",
            f"Resume it: client resume CLIENT_ID. {AGAIN}",
        ),
    ),
    Ending(
        lambda c: c.refused(PAGES, "access_denied: This app may not connect"),
        _stopped(
            "the owner has refused this client",
            "Somebody tried to connect a client that was refused with: client refuse.",
            "If you want it after all: client approve CLIENT_ID. Then connect again.",
        ),
    ),
    Ending(
        lambda c: c.refused(PAGES, "access_denied: This server takes known apps only"),
        _stopped(
            "the client is not one of those that are known",
            "MCP_OAUTH_REGISTRATION is known, and this client's answers go to an address that no known one has.",
            "If you trust it: client approve CLIENT_ID. Then connect again.",
        ),
    ),
    Ending(
        lambda c: c.refused(PAGES, "invalid_request: Too many apps are waiting"),
        _stopped(
            "too many apps wait for the owner",
            "MCP_OAUTH_REGISTRATION is approve, and as many wait as there is room for.",
            "Decide on some: status, client approve CLIENT_ID, client refuse CLIENT_ID. Then connect again.",
        ),
    ),
    # Who the client is.
    Ending(
        lambda c: c.fails(
            TOKENS,
            "invalid_client: the client_assertion has expired",
            "invalid_client: the client_assertion is from the future",
        ),
        _stopped(
            "the clocks differ",
            "The client signs its requests with the time, and by this machine's clock that time is over or to come.",
            "Set this machine's clock right (NTP does that); if it is, the client's is wrong. Then try again.",
        ),
    ),
    Ending(
        lambda c: c.fails(TOKENS, "invalid_client: the client_assertion was used before"),
        _stopped(
            "the client sent the same proof twice",
            "What it signs to prove who it is counts once, and it sent a request again without signing it anew: "
            "mostly after an answer that it did not get. What it was given stays good.",
            "Try again in the client. If that does not help, connect again.",
        ),
    ),
    Ending(
        lambda c: c.fails(TOKENS, "invalid_client: the client_assertion"),
        _stopped(
            "the client's signed proof was refused",
            "The step says what is wrong with it: the client has new keys, or it knows this server by another address.",
            "Look whether MCP_OAUTH_PUBLIC_URL is the address that the client uses, and try again in some minutes.",
        ),
    ),
    Ending(
        lambda c: c.fails(
            TOKENS,
            "temporarily_unavailable: the keys at the client's jwks_uri",
            "temporarily_unavailable: the client's keys may have changed",
        ),
        _stopped(
            "the client's keys could not be fetched",
            "This client signs its requests, and its vendor's address for the keys did not answer.",
            "Try again in some minutes; look whether this machine reaches the internet.",
        ),
    ),
    Ending(
        lambda c: c.fails(TOKENS, "invalid_client:"),
        _stopped(
            "the client could not prove who it is",
            "Its registration is gone, or its secret is wrong or missing: set by hand wrongly, or from another "
            "registration.",
            f"{RECONNECT} A client that you set up by hand needs the id and secret of: client add.",
        ),
    ),
    # Its access.
    Ending(
        lambda c: c.fails(("refresh",), "invalid_grant:"),
        _stopped(
            "access ended: the client cannot refresh any more",
            "Its refresh token has expired or was ended, by you or by a newer connection.",
            AGAIN,
        ),
    ),
    Ending(
        lambda c: c.fails(TOKENS, "invalid_target:"),
        _stopped(
            "the client asked for a token for another address",
            "It named another MCP address (resource) than the one that was allowed.",
            "Give the client exactly the MCP URL that the start page shows, and connect again.",
        ),
    ),
    Ending(
        lambda c: c.fails(("refresh",)),
        _stopped("the refresh was refused", "The last step says why.", RECONNECT),
    ),
    Ending(
        lambda c: c.fails(("token",), "invalid_grant: code_verifier"),
        _stopped(
            "the code was refused: the PKCE verifier does not fit",
            "The client mixed up two attempts, or the code was stolen on its way.",
            "Close every window of the attempt and connect again, in one window.",
        ),
    ),
    Ending(
        lambda c: c.fails(("token",), "invalid_grant: the code has expired", "invalid_grant: the code is not known"),
        _stopped(
            "the code came too late",
            "Between Allow and the client's request went more time than a code lives.",
            f"{AGAIN} If its host is slow, raise MCP_OAUTH_CODE_EXPIRY.",
        ),
    ),
    Ending(
        lambda c: c.fails(("token",), "invalid_grant: redirect_uri differs"),
        _stopped(
            "the code was refused: another redirect_uri",
            "The client names another redirect_uri than it began with: a fault of the client's, often after an update.",
            RECONNECT,
        ),
    ),
    Ending(
        lambda c: c.fails(("token",), "invalid_grant: the code was not issued to this client"),
        _stopped(
            "the code was refused: it is another client's",
            "The client mixed up two registrations, or the code was taken on its way.",
            RECONNECT,
        ),
    ),
    Ending(
        lambda c: c.fails(("token",)),
        _stopped("the token request was refused", "The last step says why.", AGAIN),
    ),
    Ending(
        lambda c: c.fails(("mcp",), EXPIRED),
        _stopped(
            "access expired, and the client did not refresh",
            "Some clients come back after a long pause with the old access token and never use their refresh token.",
            "Connect again. If it happens every day, give this client a longer access token: client lifetime.",
        ),
    ),
    Ending(
        lambda c: c.fails(("mcp",), "invalid_token: the session of this access token"),
        _stopped(
            "its session has ended",
            "It was signed out: by you, by a sixth client, or after a day without use; it has not refreshed since.",
            AGAIN,
        ),
    ),
    Ending(
        lambda c: c.fails(("mcp",), "invalid_token: the access token is for another resource"),
        _stopped(
            "token issued, but it is for another address",
            "The client asked for a token for one MCP address and uses it at another: the addresses must be equal. "
            "A client that says nothing of the address gets one for all servers together.",
            "Give the client the MCP URL that the start page shows, best the one that ends in /mcp, and connect again.",
        ),
    ),
    # At /mcp.
    Ending(
        lambda c: c.fails(("mcp",), "-32600: requests from pages of this Origin"),
        _stopped(
            "the page's Origin is not allowed",
            "The client runs in a web page of another site, which may not call this server.",
            "If you trust that site, add its origin to MCP_OAUTH_ALLOWED_ORIGINS.",
        ),
    ),
    Ending(
        lambda c: c.fails(("mcp",), "-32001: there is no server of that name"),
        _stopped(
            "there is no server of that name here",
            "The MCP URL names a server that is not in mcp.json, or is not any more.",
            "Give the client an MCP URL that is there (see: status), or add the server to mcp.json.",
        ),
    ),
    Ending(
        lambda c: c.fails(("mcp",), "-32001:"),
        _stopped(
            "its MCP session is over, and it does not begin another",
            "The client goes on with an Mcp-Session-Id that is not known any more. It was told so (404) and has to "
            "initialize again, which some never do.",
            "Start the client again, or switch the connection off and on there.",
        ),
    ),
    Ending(
        lambda c: c.fails(("mcp",), "-32022:"),
        _stopped(
            "the client speaks another revision of MCP",
            "It asked for a revision that is not served here, was told which ones are, and tried none of them.",
            "Update the client, or this server.",
        ),
    ),
    Ending(
        lambda c: c.fails(("mcp",), "-32000: the server ") and c.says("was not allowed when this client was connected"),
        _stopped(
            "connected, but not to this server",
            "The MCP URL is that of one server, and that was not ticked when the client was connected.",
            "Connect the client again, and tick the server on the consent page.",
        ),
    ),
    Ending(
        lambda c: c.fails(("mcp",), "-32000:", "-32603:"),
        _stopped(
            "the server behind this address does not work",
            "The client is let in, and the MCP server that it asks for did not start or did not answer (see the step).",
            "See: status, and the log of this server. The client can go on when that one works.",
        ),
    ),
    Ending(
        lambda c: c.worked and c.fails(("mcp",)),
        _stopped(
            "connected, and now its MCP requests are refused",
            "What the client sends to /mcp is not accepted any more (see the last step).",
            "Start the client again, and update it. If it stays so, report this step: it names what was refused.",
        ),
    ),
    Ending(
        lambda c: bool(c.story.sessions) and c.fails(("mcp",)),
        _stopped(
            "token issued, but the first MCP request was refused",
            "The client is connected, and shows no tools: what it sent to /mcp was not accepted (see the last step).",
            "If the client is up to date, report this step: it names what was refused.",
        ),
    ),
    Ending(lambda c: c.works, Verdict("connected", "connected")),
    # A token, and nothing after it.
    Ending(
        lambda c: c.since_token("challenge"),
        _stopped(
            "token issued, but the requests to /mcp came without it",
            "Something on the way drops the Authorization header, or redirects to another host.",
            "Let nothing but tailscale serve or funnel stand in front, or make the proxy pass Authorization on.",
        ),
    ),
    Ending(
        lambda c: c.since_token("mcp") and c.refused(("mcp",), STREAM) and c.quiet > PATIENCE,
        _stopped(
            "token issued, but the client only asked for a stream",
            "It listens (GET) without a session, and was told that there is no such stream (405). A client that knows "
            "the newer transport sends a request next; one of the older HTTP+SSE does not.",
            "Update the client. An old one can use /sse: set MCP_OAUTH_LEGACY_SSE.",
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
    # The person's part.
    Ending(
        lambda c: c.has("allowed") and c.quiet > PATIENCE,
        _stopped(
            "allowed, but the client never came for its token",
            "The browser did not reach the client's callback, or the client had forgotten the attempt: "
            "a blocked pop-up or third-party cookie, a filter, or too much time. "
            "Or the client cannot reach /token from where it runs.",
            "Connect again in a fresh window without extensions, and finish within a few minutes. "
            "For a client that runs elsewhere MCP_OAUTH_PUBLIC_URL must be an address that the internet reaches.",
        ),
    ),
    Ending(lambda c: c.has("allowed"), Verdict("going on", "allowed; the client is to come for its token")),
    Ending(
        lambda c: c.has("denied"),
        _stopped("denied: the person said no", "Deny was pressed on the consent page.", AGAIN),
    ),
    Ending(
        lambda c: c.refused(("consent", "sign-in"), "access_denied: Waiting for approval"),
        Verdict(
            "waiting",
            "waiting for the owner's approval of the person",
            "Somebody signed in whom the owner has not let in yet.",
            "See: user list, user approve NAME. Then connect again.",
        ),
    ),
    Ending(
        lambda c: c.refused(
            ("consent",),
            "invalid_request: This request has expired",
            "invalid_request: You have answered this already",
        ),
        _stopped(
            "the consent page was too old",
            "It was open for more than an hour, was answered before, or the client has changed or gone meanwhile.",
            AGAIN,
        ),
    ),
    Ending(
        lambda c: c.ends_with("consent", "sign-in") and c.refused(("consent", "sign-in"), "access_denied: Not allowed"),
        _stopped(
            "the browser did not show that the page was ours",
            "It sent our cookie no more: cookies are blocked or were removed, the page was open for too long, or "
            "another site sent the form.",
            "Allow cookies for this address, and connect again in one window.",
        ),
    ),
    Ending(
        lambda c: c.ends_with("consent") and c.quiet > PAGE,
        _stopped("the consent page was not answered", "Its window was closed, or left open for an hour.", AGAIN),
    ),
    Ending(
        lambda c: c.refused(("consent",), "access_denied: Waiting for the owner"),
        Verdict(
            "waiting",
            "waiting for the owner's approval of the app",
            "MCP_OAUTH_REGISTRATION is approve, and no owner has let this app in yet.",
            "See: status, client approve CLIENT_ID. The page where it waits then goes on by itself.",
        ),
    ),
    Ending(
        lambda c: c.ends_with("consent") and c.refused(("consent",)),
        _stopped("the consent page was refused", "The last step says why.", AGAIN),
    ),
    Ending(
        lambda c: c.ends_with("consent"),
        Verdict("waiting", "waiting for consent", "The consent page is not answered.", "Press Allow or Deny."),
    ),
    Ending(
        lambda c: c.ends_with("sign-in") and c.refused(("sign-in",), "Tailscale names nobody"),
        _stopped(
            "the sign-in page was opened outside the tailnet",
            "People sign in with Tailscale here, and it names nobody at that browser: Tailscale is off on that device, "
            "the device is tagged or somebody else's, or the request came through Funnel.",
            "Switch Tailscale on there, and load the page again; or switch on another way to sign in.",
        ),
    ),
    Ending(
        lambda c: c.ends_with("sign-in") and c.refused(("sign-in",)),
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
        lambda c: c.refused(("authorize",), "invalid_client: This app is not known here"),
        _stopped(
            "the client is not known here",
            "It uses a registration that is gone: removed, or from before the data directory was made anew.",
            RECONNECT,
        ),
    ),
    Ending(
        lambda c: c.refused(
            ("authorize",), "invalid_client: The document about", "temporarily_unavailable: The document about"
        ),
        _stopped(
            "the client's document could not be used",
            "Its client_id is the address of a document about it, and the last step says what is wrong with that.",
            "Try again in some minutes; look whether this machine reaches the internet, and its name servers answer.",
        ),
    ),
    Ending(
        lambda c: c.refused(("authorize",), "invalid_request: This link leads somewhere else"),
        _stopped(
            "the redirect_uri is not one that the client registered",
            "The client changed its callback address since it registered, or the link was tampered with.",
            RECONNECT,
        ),
    ),
    Ending(
        lambda c: c.refused(("authorize",), "invalid_request: PKCE", "invalid_request: code_challenge"),
        _stopped(
            "the client does not use PKCE",
            "Its request has no code_challenge with S256, which is required.",
            "Update the client; one that cannot do PKCE cannot be connected.",
        ),
    ),
    Ending(
        lambda c: c.refused(("authorize",), "invalid_target:"),
        _stopped(
            "the client asked for an address that is not served here",
            "Its resource is not one of this server's MCP URLs.",
            "Give the client exactly the MCP URL that the start page shows.",
        ),
    ),
    Ending(
        lambda c: c.refused(("authorize",)),
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
        lambda c: c.refused(("registration",), "temporarily_unavailable: too many registrations"),
        _stopped(
            "registration refused: too many from its address",
            "An address may register twenty clients in an hour. One that asks for more registers anew at each try.",
            "Wait an hour, and look why the client does not keep its registration. Or register it with: client add.",
        ),
    ),
    Ending(
        lambda c: c.refused(("registration",), "invalid_redirect_uri: this server takes known clients only"),
        _stopped(
            "registration refused: the client is not one of those that are known",
            "MCP_OAUTH_REGISTRATION is known, and this client's answers go to an address that no known one has.",
            "If you trust it, register it by hand and give it the id: client add. "
            "Or set MCP_OAUTH_REGISTRATION to approve, and decide when it asks.",
        ),
    ),
    Ending(
        lambda c: c.refused(("registration",), "invalid_redirect_uri:"),
        _stopped(
            "registration refused: its redirect URIs",
            "One of the addresses that would get codes is not acceptable (see the step).",
            "Update the client. If it is your own, use https or a loopback address.",
        ),
    ),
    Ending(
        lambda c: c.refused(("registration",)),
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
        lambda c: any(step.status == 404 and RESOURCE_OF_SERVER in step.what for step in c.steps),
        _stopped(
            "asked for an MCP server that is not here",
            "The MCP URL ends in the name of a server that is not in mcp.json, is switched off there, or is misspelt.",
            "See status for the names that there are; or give the client the MCP URL that ends in /mcp, for all.",
        ),
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
    Ending(
        lambda c: c.quiet > PATIENCE,
        _stopped("it went no further", "The last step says how far it came.", AGAIN),
    ),
    Ending(lambda c: True, Verdict("going on", "going on")),
)


# What is no client's doing: nobody finds any tool.
WITHOUT_TOOLS = Verdict(
    "connected",
    "connected, but no server here has tools",
    "Each of the servers in mcp.json has failed, or there is none: what the client shows is empty.",
    "See: status. When a server works, load the tools anew in the client.",
)


# What is the person's own doing, and not seen at the client.
WITHOUT_TICKS = Verdict(
    "connected",
    "connected, but nothing was allowed to it",
    "Of the tools that are here none was ticked on the consent page: what the client shows is empty.",
    "End its connection (client end CLIENT_ID), connect it again, and tick what it may use.",
)


def judge(story: Story, now: int, *, tools: bool = True, ticked: bool = True) -> Verdict:
    """``tools``: whether there are any at present; ``ticked``: whether some of them were ticked for this client."""
    course = Course(story, now)
    verdict = next(ending.verdict for ending in ENDINGS if ending.fits(course))
    if verdict.state != "connected":
        return verdict
    return WITHOUT_TOOLS if not tools else WITHOUT_TICKS if not ticked else verdict
