"""What a browser carries for us: encrypted, authenticated, bound to one purpose and to a time."""

import base64
import hashlib
import hmac
import zlib
from typing import TypeVar

from cryptography.fernet import Fernet, InvalidToken
from pydantic import BaseModel, ValidationError

from ..ambient import Ambient

M = TypeVar("M", bound=BaseModel)

LONGEST = 16384


class Seal:
    """Seals models for one ``purpose``; what was sealed for another does not open here."""

    def __init__(self, secret: str, purpose: str, ttl: int, ambient: Ambient) -> None:
        key = hmac.digest(secret.encode(), f"seal:{purpose}".encode(), hashlib.sha256)
        self._fernet = Fernet(base64.urlsafe_b64encode(key))
        self.ttl, self._ambient = ttl, ambient

    def seal(self, content: BaseModel) -> str:
        data = zlib.compress(content.model_dump_json(exclude_none=True).encode())
        return self._fernet.encrypt_at_time(data, self._ambient.now()).decode().rstrip("=")

    def unseal(self, text: str, model: type[M]) -> M | None:
        """None for what we did not seal, for another purpose, or longer than ``ttl`` seconds ago."""
        if not text or len(text) > LONGEST or not text.isascii():
            return None
        padded = text + "=" * (-len(text) % 4)
        try:
            data = self._fernet.decrypt_at_time(padded, self.ttl, self._ambient.now())
            return model.model_validate_json(zlib.decompress(data))
        except (InvalidToken, ValidationError, ValueError, zlib.error):
            return None
