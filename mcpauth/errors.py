"""Every exception. Those that go over the wire are named after their wire code."""


class MCPAuthError(Exception):
    """Base of all errors below; never raised itself."""


class OAuthError(MCPAuthError):
    """An error a client is told about (RFC 6749 §4.1.2.1, §5.2).

    ``description`` goes over the wire: ASCII, no secrets, no echo of input.
    """

    error: str
    status = 400

    def __init__(self, description: str) -> None:
        super().__init__(f"{self.error}: {description}")
        self.description = description

    def body(self) -> dict[str, str]:
        return {"error": self.error, "error_description": self.description}

    def headers(self) -> dict[str, str]:
        return {}


class InvalidRequest(OAuthError):
    error = "invalid_request"


class InvalidClient(OAuthError):
    """Client authentication failed (RFC 6749 §5.2). SDKs answer it by forgetting everything they hold."""

    error = "invalid_client"
    status = 401

    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": 'Basic realm="mcpauth"'}


class InvalidGrant(OAuthError):
    error = "invalid_grant"


class UnsupportedGrantType(OAuthError):
    error = "unsupported_grant_type"


class UnsupportedResponseType(OAuthError):
    error = "unsupported_response_type"


class InvalidTarget(OAuthError):
    """RFC 8707 §2."""

    error = "invalid_target"


class AccessDenied(OAuthError):
    error = "access_denied"
    status = 403


class TooManyRequests(OAuthError):
    """A limit was reached; ``retry_after`` in seconds. RFC 6749 has no code of its own for it."""

    error = "temporarily_unavailable"
    status = 429

    def __init__(self, description: str, retry_after: int) -> None:
        super().__init__(description)
        self.retry_after = retry_after

    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after)}


class TemporarilyUnavailable(OAuthError):
    """What is needed to answer cannot be had now; nothing is wrong with what the client holds."""

    error = "temporarily_unavailable"
    status = 503

    def headers(self) -> dict[str, str]:
        return {"Retry-After": "30"}


class InvalidRedirectURI(OAuthError):
    """RFC 7591 §3.2.2."""

    error = "invalid_redirect_uri"


class InvalidClientMetadata(OAuthError):
    """RFC 7591 §3.2.2."""

    error = "invalid_client_metadata"


class InvalidToken(OAuthError):
    """The bearer token is no good (RFC 6750 §3.1)."""

    error = "invalid_token"
    status = 401


class MissingToken(InvalidToken):
    """No bearer token came: how a client begins, before it asks where to get one."""


class InsufficientScope(OAuthError):
    """RFC 6750 §3.1; ``scope`` is all that the refused operation needs."""

    error = "insufficient_scope"
    status = 403

    def __init__(self, description: str, scope: str) -> None:
        super().__init__(description)
        self.scope = scope


class PageError(MCPAuthError):
    """Shown to a person, never redirected. ``title`` says what happened, ``hint`` what to do.

    A program that does not read HTML gets the same as JSON, with ``error`` as the code. ``for_owner`` is what the log
    and the trace say in place of the title.
    """

    def __init__(
        self, status: int, title: str, hint: str, error: str = "invalid_request", *, for_owner: str | None = None
    ) -> None:
        super().__init__(title)
        self.status, self.title, self.hint, self.error = status, title, hint, error
        self.for_owner = for_owner or title


class AwaitingOwner(PageError):
    """The client waits for the owner's yes; the same page works when that has come."""

    def __init__(self) -> None:
        hint = "The owner of this server has to let this app in first. Ask them, and load this page again."
        super().__init__(403, "Waiting for the owner", hint, "access_denied")


class DocumentError(MCPAuthError):
    """What a client publishes of itself cannot be had, or is no good; ``reason`` is about "it", for a person.

    ``for_owner`` says more where a stranger must not learn it.
    """

    def __init__(self, reason: str, status: int = 400, *, for_owner: str | None = None) -> None:
        super().__init__(reason)
        self.reason, self.status, self.for_owner = reason, status, for_owner or reason


class SignInRefused(MCPAuthError):
    """Shown on the page with the form; ``retry_after`` in seconds, 0 when another attempt may be made at once."""

    def __init__(self, message: str, retry_after: int = 0) -> None:
        super().__init__(message)
        self.message, self.retry_after = message, retry_after


class IdentityError(MCPAuthError):
    """A provider refused, or did not answer. ``hint`` is for the person at the browser."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.hint = hint


class NotOnTailnet(IdentityError):
    """Nothing is wrong: the request does not come from a person's device of the tailnet."""


class TailscaleError(MCPAuthError):
    """The tailscaled of this machine cannot be asked; never raised itself. The text is for the owner."""


class TailscaledAbsent(TailscaleError):
    """Nothing listens where tailscaled should."""


class TailscaledForbids(TailscaleError):
    """It is there, and does not let this process ask."""


class TailscaledFailed(TailscaleError):
    """It does not answer in time, or with what it should."""


class GatewayError(MCPAuthError):
    """An MCP message cannot be served. ``code`` is JSON-RPC's, ``data`` what goes with it."""

    code = -32603
    data: dict[str, object] | None = None

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidMessage(GatewayError):
    """The body is not a message we can take (JSON-RPC -32600, HTTP 400)."""

    code = -32600


class ParseError(GatewayError):
    """The body is not JSON (JSON-RPC -32700, HTTP 400)."""

    code = -32700


class UnknownMethod(GatewayError):
    """Nothing here answers that method (JSON-RPC -32601)."""

    code = -32601


class SamplingRefused(GatewayError):
    """Nobody allows it (JSON-RPC -1, as the specification has it of a person who does not)."""

    code = -1


class InvalidParameters(GatewayError):
    """The method is known, what it is asked for is not (JSON-RPC -32602)."""

    code = -32602


class ResourceNotFound(InvalidParameters):
    """No server has it; both eras want to hear which (JSON-RPC -32602)."""

    def __init__(self, uri: str) -> None:
        super().__init__("no server here has that resource")
        self.data = {"uri": uri}


class LegacyResourceNotFound(ResourceNotFound):
    """The same for clients of the older era (JSON-RPC -32002)."""

    code = -32002


class HeaderMismatch(GatewayError):
    """A header of a modern request does not say what its body says (JSON-RPC -32020)."""

    code = -32020


class UnsupportedVersion(GatewayError):
    """A modern request names a revision that is not served here (JSON-RPC -32022)."""

    code = -32022

    def __init__(self, supported: list[str], requested: str) -> None:
        super().__init__("this revision of MCP is not served here")
        self.data = {"supported": supported, "requested": requested}


class RequestCancelled(GatewayError):
    """Whoever asked has left, or may not ask any more. Mostly nobody is there to be told."""

    code = -32000


class ToolRefused(GatewayError):
    """A tool that is not called, for a reason that the model is to read: it is told as a tool's error."""


class TooMuchUnderWay(GatewayError):
    """The client has to wait for answers, or to end something, before it may ask for more."""

    code = -32000


class NotAllowed(GatewayError):
    """The grant does not reach this backend. Never a 403: a client would only register again."""

    code = -32000


class ClientPaused(GatewayError):
    """The owner has paused the client. Never a 401 or 403: it would forget what it holds, or register again."""

    code = -32000


class UnknownSession(GatewayError):
    """The Mcp-Session-Id is none of this principal's (HTTP 404: the client initializes again)."""

    code = -32001


class UnknownBackend(GatewayError):
    """There is no backend of that name (HTTP 404)."""

    code = -32001


class BackendUnavailable(GatewayError):
    """The backend did not start, ended, or did not answer in time.

    ``last_line`` is what it wrote last on stderr: for the owner alone, never part of the message.
    """

    code = -32000

    def __init__(self, message: str, last_line: str = "") -> None:
        super().__init__(message)
        self.last_line = last_line


class SessionLost(BackendUnavailable):
    """The backend does not know its session any more. The request was not run: it may be sent in another one."""


class NothingThere(BackendUnavailable):
    """A remote server answers that what it was asked is not there (HTTP 4xx): it is no failure of the way to it."""


class InitializeRefused(BackendUnavailable):
    """The backend begins no session in the older era, which it was known to speak: another version may have come."""

    def __init__(self, backend: str) -> None:
        super().__init__(f"the server {backend} refused to initialize; try again")


class SettingsError(MCPAuthError):
    """The process does not start. Names the variable or the file's key, never a value."""


class OperationError(MCPAuthError):
    """A command cannot be carried out; the text says what to change."""


class WrongUsage(OperationError):
    """It could not be carried out anywhere, as it is written; ``usage`` is how to write it, where that is known."""

    def __init__(self, text: str, usage: str = "") -> None:
        super().__init__(text)
        self.usage = usage


class DataDirectoryBusy(MCPAuthError):
    """Another process holds the data directory."""


class StepFailed(MCPAuthError):
    """A client that is played gives up here: why, and what to do about it."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason)
        self.reason, self.fix = reason, fix
