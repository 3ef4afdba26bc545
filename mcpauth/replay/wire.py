"""HTTP as a client sees it: one request, one answer, and no redirect is ever followed."""

import json
from typing import Any, NamedTuple

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from ..errors import StepFailed
from . import advice

LARGEST = 4 * 1024 * 1024


class Exchange(NamedTuple):
    """``sent`` are the request's headers, ``headers`` the answer's; ``mount`` is the command that leads there."""

    method: str
    url: str
    sent: dict[str, str]
    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    mount: str

    def __str__(self) -> str:
        return f"{self.method} {self.url.partition('?')[0]}"

    def expect(self, *status: int) -> None:
        """Raises StepFailed."""
        if self.status not in status:
            wanted = " or ".join(map(str, status))
            raise StepFailed(
                f"{self} answers {self.status}{_told(self)}, and {wanted} was expected",
                advice.for_status(self.status, self.url, self.headers.get("Location", ""), self.mount),
            )

    @property
    def json(self) -> dict[str, Any]:
        """Raises StepFailed."""
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise StepFailed(f"{self} answers {kind or 'nothing'}, not application/json", advice.SOMETHING_IN_FRONT)
        try:
            content = json.loads(self.body)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise StepFailed(f"{self} answers no JSON object", advice.SOMETHING_IN_FRONT)
        return content


class Wire:
    def __init__(self, http: aiohttp.ClientSession, timeout: float, mount: str) -> None:
        self._http, self._seconds, self._mount = http, timeout, mount
        self._timeout = aiohttp.ClientTimeout(total=timeout)

    async def send(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None = None, request_id: int | None = None
    ) -> Exchange:
        """Of a stream, the message that answers ``request_id``; none of it without one. Raises StepFailed."""
        try:
            async with self._http.request(
                method,
                URL(url, encoded=True),
                headers=headers,
                data=body,
                allow_redirects=False,
                skip_auto_headers=("User-Agent",),
                timeout=self._timeout,
            ) as response:
                if response.content_type != "text/event-stream":
                    content = await _whole(response)
                else:
                    content = b"" if request_id is None else await _event(response, request_id)
                return Exchange(method, url, headers, response.status, response.headers, content, self._mount)
        except TimeoutError:
            shown = url.partition("?")[0]
            raise StepFailed(f"{method} {shown} has no answer after {self._seconds:g} s", advice.TOO_SLOW) from None
        except (aiohttp.ClientError, OSError, ValueError, RecursionError) as error:
            raise StepFailed(*advice.for_error(error, method, url)) from None


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > LARGEST:
            raise StepFailed(f"the answer has more than {LARGEST // 1024**2} MiB", advice.TOO_MUCH)
    return bytes(body)


async def _event(response: aiohttp.ClientResponse, request_id: int) -> bytes:
    """The data of the event that is the answer; empty when the stream ends before."""
    data, read = bytearray(), 0
    async for line in response.content:
        read += len(line)
        if read > LARGEST:
            raise StepFailed(f"the answer has more than {LARGEST // 1024**2} MiB", advice.TOO_MUCH)
        if line.startswith(b"data:"):
            data += line[5:].strip()
        elif not line.strip() and data:
            message = json.loads(data)
            if isinstance(message, dict) and message.get("id") == request_id and "method" not in message:
                return bytes(data)
            data.clear()
    return b""


def _told(exchange: Exchange) -> str:
    """What an error answer says of itself."""
    try:
        told = json.loads(exchange.body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(told, dict):
        return ""
    error = told.get("error")
    if isinstance(error, dict):
        error = error.get("message")
    words = [one for one in (error, told.get("error_description")) if isinstance(one, str)]
    return f" ({': '.join(words)[:300]})" if words else ""
