"""A client by its id, whether it registered here or publishes what it is at the URL that its id is."""

from ..ambient import Ambient
from ..errors import DocumentError
from ..models.records import Client, ClientMetadata
from ..store.clients import ClientStore
from . import client_id_url, shipped_documents
from .remote_documents import RemoteDocuments


class Clients:
    def __init__(self, store: ClientStore, documents: RemoteDocuments[ClientMetadata], ambient: Ambient) -> None:
        self._store, self._documents, self._ambient = store, documents, ambient

    async def find(self, client_id: str, party: str | None = None) -> Client | None:
        """The client for an authorization; ``party`` is who may make us fetch its document.

        None for an id that is not known; raises DocumentError where the document is the reason.
        """
        known = await self._store.find(client_id)
        if not client_id_url.is_url(client_id):
            return known
        return await self._published(client_id, known, party=party, wait=True)

    async def find_approved(self, client_id: str) -> Client | None:
        """The client where tokens are: None, and nothing is fetched, for one that nobody ever approved."""
        known = await self._store.find(client_id)
        if known is None or not client_id_url.is_url(client_id):
            return known
        return await self._published(client_id, known, party=None, wait=False)

    async def _published(self, client_id: str, known: Client | None, *, party: str | None, wait: bool) -> Client:
        if reason := client_id_url.problem(client_id):
            raise DocumentError(f"its address {reason}")
        instead = shipped_documents.find(client_id) or (known.metadata if known is not None else None)
        metadata = (await self._documents.get(client_id, party=party, instead=instead, wait=wait)).content
        if known is not None:
            return known.model_copy(update={"metadata": metadata})
        return Client(
            client_id=client_id,
            metadata=metadata,
            secret_hash=None,
            registration_token_hash=None,
            preregistered=False,
            created_at=self._ambient.now(),
            used_at=None,
        )
