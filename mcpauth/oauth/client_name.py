"""What to call a client where people read it: anybody can register under any name."""

import unicodedata

from ..models.records import Client
from . import client_profiles, redirect_uri
from .client_profiles import ClientProfile


def visible(name: str) -> str:
    """``name`` without what could make a page say something else: controls, bidi marks, blank runs."""
    text = " ".join("".join(c if unicodedata.category(c)[0] != "C" else " " for c in name).split())
    return text if len(text) <= 80 else text[:79] + "…"


def display_name(client: Client) -> str:
    """What to call the client: what the owner calls it, else what it says of itself."""
    return client.label or visible(client.name) or client.client_id


def posed_as(client: Client, uri: str) -> ClientProfile | None:
    """Whose name a client bears that is somebody else, going by where its code goes."""
    if client.preregistered or client_profiles.identify(client.client_id, uri) is not None:
        return None
    return client_profiles.posed_as(visible(client.name), uri, loopback=redirect_uri.is_loopback(uri))


def shown_name(client: Client, uri: str) -> str:
    """What to call whoever gets a code at ``uri``: what is certain before what the client says."""
    profile = client_profiles.identify(client.client_id, uri)
    if profile is not None:
        return profile.name
    if posed_as(client, uri) is not None:
        here = redirect_uri.is_loopback(uri)
        return "An app on this computer" if here else f"An app at {redirect_uri.host(uri)}"
    return display_name(client)
