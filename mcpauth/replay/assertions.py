"""What clients assert, each under the words that the data of a client names it with."""

import base64
import json
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from ..errors import StepFailed
from . import advice
from .attempt import Attempt

OIDC = ("jwks_uri", "subject_types_supported", "id_token_signing_alg_values_supported")
PUBLIC_URL = "Set MCP_OAUTH_PUBLIC_URL to the one address that clients use, exactly, and enter the URL just so."
A_BUG = "This is for mcpauth to mend: please report it, with this line."
CORS = "Something in front takes the Access-Control headers away: let them through."
SCHEMA = "Clients leave such tools out, or give up: tell the author of that server, or deny the tools in mcp.json."
ANNOTATE = "Ask the author of that server for annotations, or deny those tools in mcp.json."

Found = str | None


def judge(attempt: Attempt, names: Iterable[str]) -> None:
    """Raises StepFailed for the first that does not hold."""
    for name in names:
        check, fix = ASSERTIONS[name]
        if found := check(attempt):
            raise StepFailed(f"{name}: it does not hold, {found}", fix)


def warnings(attempt: Attempt, names: Iterable[str]) -> list[str]:
    found = ((check(attempt), fix) for check, fix in (ASSERTIONS[name] for name in names))
    return [f"{reason}. {fix}" for reason, fix in found if reason]


def _differs(what: object, wanted: object) -> Found:
    return None if what == wanted else f"it is {what!r} and not {wanted!r}"


def _lacks(values: Any, wanted: str) -> Found:
    return None if isinstance(values, list) and wanted in values else f"{wanted} is not among {values!r}"


# Documents.


def _resource_is_url(attempt: Attempt) -> Found:
    return _differs(attempt.resource.get("resource"), attempt.url)


def _resource_is_at_url(attempt: Attempt) -> Found:
    """The same origin, and a path above the URL's or its own."""
    resource, url = urlsplit(str(attempt.resource.get("resource"))), urlsplit(attempt.url)
    above = f"{url.path.rstrip('/')}/".startswith(f"{resource.path.rstrip('/')}/")
    return None if (resource.scheme, resource.netloc) == (url.scheme, url.netloc) and above else "it is elsewhere"


def _issuer_is_equal(attempt: Attempt) -> Found:
    return _differs(attempt.server.get("issuer"), attempt.issuer)


def _iss_is_promised(attempt: Attempt) -> Found:
    return _differs(attempt.server.get("authorization_response_iss_parameter_supported"), True)


def _s256_is_offered(attempt: Attempt) -> Found:
    return _lacks(attempt.server.get("code_challenge_methods_supported"), "S256")


def _none_is_offered(attempt: Attempt) -> Found:
    return _lacks(attempt.server.get("token_endpoint_auth_methods_supported"), "none")


def _secrets_are_offered(attempt: Attempt) -> Found:
    return _lacks(attempt.server.get("token_endpoint_auth_methods_supported"), "client_secret_basic")


def _refresh_is_offered(attempt: Attempt) -> Found:
    return _lacks(attempt.server.get("grant_types_supported"), "refresh_token")


def _registration_is_offered(attempt: Attempt) -> Found:
    return None if attempt.server.get("registration_endpoint") else "there is no registration_endpoint"


def _mcp_is_a_scope(attempt: Attempt) -> Found:
    return _lacks(attempt.server.get("scopes_supported"), "mcp")


def _offline_access_is_a_scope(attempt: Attempt) -> Found:
    return _lacks(attempt.server.get("scopes_supported"), "offline_access")


def _no_scope_is_refused(attempt: Attempt) -> Found:
    """Clients ask for all that is listed: OIDC's scopes only where OIDC is offered."""
    listed = {"openid", "profile", "email"} & set(attempt.server.get("scopes_supported") or ())
    return f"{', '.join(sorted(listed))} is listed" if listed else None


def _endpoints_are_secure(attempt: Attempt) -> Found:
    for name, value in attempt.server.items():
        if name.endswith("_endpoint"):
            parts = urlsplit(str(value))
            if parts.scheme != "https" and parts.hostname not in advice.LOOPBACK:
                return f"{name} is plain http"
    return None


def _oidc_is_whole(attempt: Attempt) -> Found:
    """A document at OIDC's address is complete, or there is none."""
    if attempt.last.status != 200:
        return None
    missing = [name for name in OIDC if name not in attempt.last.json]
    return f"{', '.join(missing)} is missing" if missing else None


def _answer_is_json(attempt: Attempt) -> Found:
    _ = attempt.last.json
    return None


def _nothing_is_null(attempt: Attempt) -> Found:
    empty = [name for name, value in attempt.last.json.items() if value is None or value == ""]
    return f"{', '.join(empty)} is empty" if empty else None


# Pages.


def _page_may_read(attempt: Attempt) -> Found:
    allowed = attempt.last.headers.get("Access-Control-Allow-Origin", "")
    return None if allowed in ("*", attempt.client.origin) else f"Access-Control-Allow-Origin is {allowed!r}"


def _page_may_send(attempt: Attempt) -> Found:
    """All the headers that the browser asked for on its behalf."""
    allowed = attempt.last.headers.get("Access-Control-Allow-Headers", "").lower()
    wanted = attempt.last.sent.get("Access-Control-Request-Headers", "").split(",")
    missing = [one for one in wanted if one not in allowed]
    return f"{', '.join(missing)} is not allowed" if missing else None


def _page_sees_headers(attempt: Attempt) -> Found:
    exposed = attempt.last.headers.get("Access-Control-Expose-Headers", "").lower()
    missing = [one for one in ("www-authenticate", "mcp-session-id") if one not in exposed]
    return f"{', '.join(missing)} is not exposed" if missing else None


# Registration.


def _uris_are_echoed(attempt: Attempt) -> Found:
    return _differs(attempt.registration.get("redirect_uris"), attempt.redirect_uris)


def _no_secret_came(attempt: Attempt) -> Found:
    return "a secret came" if "client_secret" in attempt.registration else None


def _secret_came(attempt: Attempt) -> Found:
    return None if attempt.registration.get("client_secret") else "none came"


def _method_is_kept(attempt: Attempt) -> Found:
    """What it asked for, and a secret where that needs one. Not asked for, any of them may come."""
    method = attempt.registration.get("token_endpoint_auth_method")
    if "token_endpoint_auth_method" in attempt.client.registration and method != attempt.auth_method:
        return _differs(method, attempt.auth_method)
    secret = "client_secret" in attempt.registration
    return None if secret == (method != "none") else f"a secret came: {secret}, and the method is {method!r}"


def _secret_stays(attempt: Attempt) -> Found:
    return _differs(attempt.registration.get("client_secret_expires_at", 0), 0)


# Answers of the authorization endpoint.


def _iss_is_equal(attempt: Attempt) -> Found:
    return _differs(attempt.answer.get("iss"), attempt.issuer)


# Tokens.


def _is_bearer(attempt: Attempt) -> Found:
    return _differs(attempt.tokens.get("token_type"), "Bearer")


def _expiry_is_integer(attempt: Attempt) -> Found:
    given = attempt.tokens.get("expires_in")
    return None if type(given) is int and given > 0 else f"expires_in is {given!r}"


def _refresh_token_came(attempt: Attempt) -> Found:
    return None if attempt.tokens.get("refresh_token") else "there is none"


def _tokens_are_new(attempt: Attempt) -> Found:
    same = [one for one in ("access_token", "refresh_token") if attempt.tokens.get(one) == attempt.earlier.get(one)]
    return f"{', '.join(same)} is the one from before" if same else None


def _scope_is_told(attempt: Attempt) -> Found:
    return None if attempt.tokens.get("scope") else "scope is missing"


def _scope_stays(attempt: Attempt) -> Found:
    return _differs(attempt.tokens.get("scope"), attempt.earlier.get("scope"))


def _is_not_cached(attempt: Attempt) -> Found:
    given = attempt.last.headers.get("Cache-Control", "")
    return None if "no-store" in given else f"Cache-Control is {given!r}"


def _token_is_for_resource(attempt: Attempt) -> Found:
    """The client cannot check the signature, and does not."""
    try:
        payload = str(attempt.tokens.get("access_token")).split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError, RecursionError):
        return "it is no JWT"
    return _differs(claims.get("aud"), attempt.resource.get("resource"))


# MCP.


def _token_was_refused(attempt: Attempt) -> Found:
    return _differs(attempt.challenge.get("error"), "invalid_token")


def _refusal_is_described(attempt: Attempt) -> Found:
    return None if attempt.challenge.get("error_description") else "there is no error_description"


def _no_token_was_refused(attempt: Attempt) -> Found:
    """RFC 6750 §3.1: no error code where no token came."""
    return "it names an error" if "error" in attempt.challenge else None


def _scope_is_asked_for(attempt: Attempt) -> Found:
    return None if attempt.challenge.get("scope") else "the challenge names no scope"


def _tools_have_schemas(attempt: Attempt) -> Found:
    tools = attempt.result.get("tools") or []
    bad = [str(one.get("name")) for one in tools if not isinstance(one.get("inputSchema"), dict)]
    return f"{', '.join(bad[:5])} has no inputSchema that is an object" if bad else None


def _there_are_tools(attempt: Attempt) -> Found:
    return None if attempt.result.get("tools") else "There are no tools"


def _tools_are_annotated(attempt: Attempt) -> Found:
    tools = attempt.result.get("tools") or []
    bare = [str(one.get("name")) for one in tools if "readOnlyHint" not in (one.get("annotations") or {})]
    return f"{len(bare)} tools say not whether they change something ({', '.join(bare[:3])})" if bare else None


def _tools_are_few(attempt: Attempt) -> Found:
    count = len(attempt.result.get("tools") or [])
    return f"There are {count} tools, and the client takes 128" if count > 128 else None


ASSERTIONS: dict[str, tuple[Callable[[Attempt], Found], str]] = {
    "resource is the URL": (_resource_is_url, PUBLIC_URL),
    "resource is at the URL": (_resource_is_at_url, PUBLIC_URL),
    "issuer is byte-equal": (_issuer_is_equal, PUBLIC_URL),
    "iss is promised": (_iss_is_promised, A_BUG),
    "S256 is offered": (_s256_is_offered, A_BUG),
    "none is offered": (_none_is_offered, A_BUG),
    "secrets are offered": (_secrets_are_offered, A_BUG),
    "refresh is offered": (_refresh_is_offered, A_BUG),
    "registration is offered": (_registration_is_offered, A_BUG),
    "mcp is a scope": (_mcp_is_a_scope, A_BUG),
    "offline_access is a scope": (_offline_access_is_a_scope, A_BUG),
    "no scope is listed and refused": (_no_scope_is_refused, A_BUG),
    "endpoints are secure": (_endpoints_are_secure, PUBLIC_URL),
    "OIDC is whole or absent": (_oidc_is_whole, advice.SOMETHING_IN_FRONT),
    "answer is JSON": (_answer_is_json, advice.SOMETHING_IN_FRONT),
    "nothing is null": (_nothing_is_null, A_BUG),
    "page may read": (_page_may_read, CORS),
    "page may send": (_page_may_send, CORS),
    "page sees the headers": (_page_sees_headers, CORS),
    "redirect_uris are echoed": (_uris_are_echoed, A_BUG),
    "no secret comes": (_no_secret_came, A_BUG),
    "a secret comes": (_secret_came, A_BUG),
    "the method is kept": (_method_is_kept, A_BUG),
    "the secret does not expire": (_secret_stays, A_BUG),
    "iss is byte-equal": (_iss_is_equal, PUBLIC_URL),
    "token_type is Bearer": (_is_bearer, A_BUG),
    "expires_in is an integer": (_expiry_is_integer, A_BUG),
    "a refresh token comes": (_refresh_token_came, A_BUG),
    "tokens are new": (_tokens_are_new, A_BUG),
    "scope is told": (_scope_is_told, A_BUG),
    "scope stays": (_scope_stays, A_BUG),
    "nothing is cached": (_is_not_cached, advice.SOMETHING_IN_FRONT),
    "aud is the resource": (_token_is_for_resource, A_BUG),
    "the token is refused": (_token_was_refused, A_BUG),
    "the refusal is described": (_refusal_is_described, A_BUG),
    "no error without a token": (_no_token_was_refused, A_BUG),
    "scope is asked for": (_scope_is_asked_for, A_BUG),
    "tools have schemas": (_tools_have_schemas, SCHEMA),
    "there are tools": (_there_are_tools, "See `status`: which servers run, and what they offer."),
    "tools are annotated": (_tools_are_annotated, ANNOTATE),
    "128 tools at most": (_tools_are_few, "Connect one server by itself: https://HOST/mcp/NAME."),
}
