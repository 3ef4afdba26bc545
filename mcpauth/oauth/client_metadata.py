"""What a client says of itself (RFC 7591 §2), whether it registers or publishes it."""

from collections.abc import Mapping
from typing import Any

from ..errors import InvalidClientMetadata, InvalidRedirectURI
from ..models.messages import AUTH_METHODS, SIGNING_ALGORITHMS
from ..models.records import ClientMetadata
from . import client_id_url, jwks, redirect_uri

MOST_REDIRECT_URIS = 20
GRANT_TYPES = ("authorization_code", "refresh_token")
TEXTS = {"client_name": 200, "scope": 2000, "software_id": 200, "software_version": 200}
URLS = ("client_uri", "logo_uri", "tos_uri", "policy_uri")


def read_metadata(given: Mapping[str, Any]) -> ClientMetadata:
    """What of ``given`` can be registered: unknown members are ignored, empty ones are as good as absent.

    Raises InvalidRedirectURI and InvalidClientMetadata, which name the member and the position, not the value.
    """
    given = {name: value for name, value in given.items() if value not in (None, "", [])}
    values: dict[str, Any] = {"redirect_uris": _redirect_uris(given.get("redirect_uris"))}
    for name, longest in TEXTS.items():
        if name in given:
            values[name] = _text(name, given[name], longest)
    for name in URLS:
        if name in given:
            values[name] = _text(name, given[name], 2000)
            if not values[name].startswith(("https://", "http://")):
                raise InvalidClientMetadata(f"{name} must be an http or https URL")
    if "contacts" in given:
        values["contacts"] = _texts("contacts", given["contacts"])
    if "grant_types" in given:
        asked = _texts("grant_types", given["grant_types"])
        values["grant_types"] = tuple(one for one in asked if one in GRANT_TYPES)
        if "authorization_code" not in values["grant_types"]:
            raise InvalidClientMetadata("grant_types must include authorization_code")
    if "response_types" in given:
        if "code" not in _texts("response_types", given["response_types"]):
            raise InvalidClientMetadata("response_types must include code")
        values["response_types"] = ("code",)
    if "token_endpoint_auth_method" in given:
        if given["token_endpoint_auth_method"] not in AUTH_METHODS:
            raise InvalidClientMetadata(f"token_endpoint_auth_method must be one of {', '.join(AUTH_METHODS)}")
        values["token_endpoint_auth_method"] = given["token_endpoint_auth_method"]
        if values["token_endpoint_auth_method"] == "private_key_jwt":
            values |= _keys(given)
    if given.get("application_type") in ("web", "native"):
        values["application_type"] = given["application_type"]
    return ClientMetadata(**values)


def _redirect_uris(given: Any) -> tuple[str, ...]:
    if not isinstance(given, list) or not given:
        raise InvalidRedirectURI("redirect_uris is required: a list of at least one URI")
    if len(given) > MOST_REDIRECT_URIS:
        raise InvalidRedirectURI(f"redirect_uris has more than {MOST_REDIRECT_URIS} entries")
    for position, uri in enumerate(given):
        reason = redirect_uri.problem(uri) if isinstance(uri, str) else "is not a string"
        if reason is not None:
            raise InvalidRedirectURI(f"redirect_uris[{position}] {reason}")
    return tuple(given)


def _keys(given: Mapping[str, Any]) -> dict[str, Any]:
    """Where the keys of a client are that signs (RFC 7591 §2)."""
    values: dict[str, Any] = {}
    if ("jwks" in given) == ("jwks_uri" in given):
        raise InvalidClientMetadata("private_key_jwt needs either jwks or jwks_uri")
    if "jwks" in given:
        values["jwks"] = {"keys": jwks.read(given["jwks"])}
    if "jwks_uri" in given:
        values["jwks_uri"] = _text("jwks_uri", given["jwks_uri"], client_id_url.LONGEST)
        if reason := client_id_url.problem(values["jwks_uri"]):
            raise InvalidClientMetadata(f"jwks_uri {reason}")
    if "token_endpoint_auth_signing_alg" in given:
        if given["token_endpoint_auth_signing_alg"] not in SIGNING_ALGORITHMS:
            raise InvalidClientMetadata(
                f"token_endpoint_auth_signing_alg must be one of {', '.join(SIGNING_ALGORITHMS)}"
            )
        values["token_endpoint_auth_signing_alg"] = given["token_endpoint_auth_signing_alg"]
    return values


def _text(name: str, given: Any, longest: int) -> str:
    if not isinstance(given, str) or not given.isprintable():
        raise InvalidClientMetadata(f"{name} must be a string of printable characters")
    if len(given) > longest:
        raise InvalidClientMetadata(f"{name} is longer than {longest} characters")
    return given


def _texts(name: str, given: Any) -> tuple[str, ...]:
    if not isinstance(given, list) or len(given) > 20:
        raise InvalidClientMetadata(f"{name} must be a list of at most 20 strings")
    return tuple(_text(f"{name}[{position}]", one, 200) for position, one in enumerate(given))
