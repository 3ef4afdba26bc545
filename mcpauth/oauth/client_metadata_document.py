"""Client ID Metadata Documents: the client is what the document at its id says (SEP-991, the draft of that name)."""

from typing import Any

from ..errors import DocumentError, InvalidClientMetadata, OAuthError
from ..models.messages import SIGNING_ALGORITHMS
from ..models.records import ClientMetadata
from . import redirect_uri
from .client_metadata import MOST_REDIRECT_URIS, URLS, read_metadata


def read(client_id: str, given: Any) -> ClientMetadata:
    """The metadata in the document ``given``, found at ``client_id``. Raises DocumentError.

    Grant types, redirect URIs and links that cannot be used are left out: its reader cannot change the document.
    """
    if not isinstance(given, dict):
        raise DocumentError("it is not a JSON object")
    # Compared as it is, without any normalization.
    if given.get("client_id") != client_id:
        raise DocumentError("it is about another client_id")
    if not given.get("client_name"):
        raise DocumentError("it has no client_name")
    if "client_secret" in given or "client_secret_expires_at" in given:
        raise DocumentError("it has a client secret, which would not be secret")
    uris = _list(given.get("redirect_uris"))
    usable = [uri for uri in uris if isinstance(uri, str) and redirect_uri.problem(uri) is None]
    if not usable:
        raise DocumentError("it has no redirect URI that can be used")
    try:
        methods = _auth_methods(given)
        metadata = read_metadata(
            {
                **{name: value for name, value in given.items() if name not in URLS or _is_web(value)},
                "redirect_uris": usable[:MOST_REDIRECT_URIS],
                "token_endpoint_auth_method": methods[-1],
            }
        )
    except OAuthError as error:
        raise DocumentError(f"it is not valid: {error.description}") from None
    return metadata.model_copy(update={"token_endpoint_auth_methods_supported": methods})


def _auth_methods(given: dict[str, Any]) -> tuple[str, ...]:
    """Those it may use, none before private_key_jwt; a list beside the one method allows any of the list.

    private_key_jwt is not among them when its signatures could not be checked here.
    """
    one = given.get("token_endpoint_auth_method")
    several = _list(given.get("token_endpoint_auth_methods_supported"))
    named = [*several, *([one] if one is not None else [])]
    if any(isinstance(method, str) and method.startswith("client_secret_") for method in named):
        raise InvalidClientMetadata("a client that publishes its metadata has no secret")
    # Without either there is no secret, so there is nothing to prove.
    methods = ["none"] if "none" in named or not named else []
    checkable = given.get("token_endpoint_auth_signing_alg") in (None, *SIGNING_ALGORITHMS)
    if "private_key_jwt" in named and checkable and ("jwks" in given or "jwks_uri" in given):
        methods.append("private_key_jwt")
    if not methods:
        raise InvalidClientMetadata("it must allow none, or private_key_jwt with keys and an algorithm known here")
    return tuple(methods)


def _is_web(given: Any) -> bool:
    return isinstance(given, str) and given.startswith(("https://", "http://"))


def _list(given: Any) -> list[Any]:
    return given if isinstance(given, list) else []
