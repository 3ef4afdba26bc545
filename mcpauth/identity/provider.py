"""What a sign-in provider does: send the browser away, and say who came back."""

from typing import Protocol

from ..models.records import Identity


class Provider(Protocol):
    id: str
    name: str

    def authorization_url(self, state: str, code_challenge: str) -> str:
        """Where the browser goes; ``state`` and the PKCE challenge are our own."""
        ...

    async def identify(self, code: str, code_verifier: str) -> Identity:
        """Who it was. What the provider grants beside that is dropped. Raises IdentityError."""
        ...
