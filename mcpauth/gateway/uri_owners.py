"""Whose a resource is at /mcp: no backend gets the requests for another's by listing them too."""

from collections.abc import Mapping

from . import uri_template
from .listing import RESOURCES, TEMPLATES, Kind
from .offer import Offer

# Of one user.
FOUND = 100

Owners = dict[str, str]
Offers = Mapping[str, Offer | None]


class UriOwners:
    """A URI, and a template, belongs to the first in the owner's order that lists it, then for as long as it does.

    That holds while a backend has failed, too. ``found`` are URIs that nobody lists, and who had them when this user
    asked: what one of them has found decides nothing for another.
    """

    def __init__(self) -> None:
        self._seen: Offers = {}
        self._updates = 0
        self._since: dict[tuple[str, str], int] = {}  # of each template and owner; 0 is from the beginning
        self._owners: dict[Kind, Owners] = {RESOURCES: {}, TEMPLATES: {}}
        self._found: dict[str, dict[str, str]] = {}  # by user

    def update(self, offers: Offers) -> None:
        """``offers`` are what each backend said last, in the owner's order; None of one that was never heard of."""
        before, self._seen = self._seen, dict(offers)
        if list(map(_identity, before.items())) != list(map(_identity, offers.items())):
            heard = {name for name in offers if before.get(name) is None}
            for kind, owners in self._owners.items():
                self._owners[kind] = _owners(kind, offers, owners, heard)
            self._updates += 1
            templates = self._owners[TEMPLATES].items()
            now = {claim: 0 if claim[1] in heard else self._updates for claim in templates}
            self._since = {claim: self._since.get(claim, then) for claim, then in now.items()}

    def listed(self, kind: Kind, key: str) -> str | None:
        return self._owners[kind].get(key)

    def of(self, uri: str) -> str | None:
        """Whose it is by the lists; None of what no list and no template knows."""
        owner = self._owners[RESOURCES].get(uri)
        if owner is not None:
            return owner
        # Who thinks of a wider template later does not come before those that were there.
        rank = {name: number for number, name in enumerate(self._seen)}
        fitting = [
            (since, rank[owner], owner) for (template, owner), since in self._since.items() if _fits(template, uri)
        ]
        return min(fitting)[2] if fitting else None

    def possible(self, uri: str) -> set[str]:
        """Who lists a template that it fits, and that does not say whose it is."""
        return {
            owner
            for template, owner in self._since
            if not uri_template.claims(template) and uri_template.matches(template, uri)
        }

    def found(self, user: str, uri: str) -> str | None:
        return self._found.get(user, {}).get(uri)

    def find(self, user: str, uri: str, backend: str) -> None:
        """Nobody lists it, and this one had it."""
        if len(uri) <= uri_template.LONGEST:
            theirs = self._found.setdefault(user, {})
            theirs.pop(uri, None)
            theirs[uri] = backend
            if len(theirs) > FOUND:
                del theirs[next(iter(theirs))]


def _owners(kind: Kind, offers: Offers, before: Owners, heard: set[str]) -> Owners:
    """Whose each is now. Who was ``heard`` of late gets what would have been theirs from the beginning."""
    owners: Owners = {}
    for name, offer in offers.items():
        for key in () if offer is None else offer.keys(kind):
            owners.setdefault(key, name)
    for key, first in before.items():
        theirs = offers.get(first)
        if theirs is not None and key in theirs.keys(kind) and owners[key] not in heard:
            owners[key] = first
    return owners


def _identity(entry: tuple[str, Offer | None]) -> tuple[str, int]:
    return entry[0], id(entry[1])


def _fits(template: str, uri: str) -> bool:
    return uri_template.claims(template) and uri_template.matches(template, uri)
