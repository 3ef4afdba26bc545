"""One connection to a remote server: aiohttp's, with less trust in who is at its other end."""

import asyncio

from aiohttp import ClientPayloadError, StreamReader
from aiohttp.client_proto import ResponseHandler


class Wire(ResponseHandler):
    """Takes nothing while nobody has asked: it would be kept without a limit, and be taken for the next answer.

    And whoever reads an answer is told that nothing more will come of it, whatever the reason.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._asked = False
        self._content: StreamReader | None = None

    def asks(self) -> None:
        """A request is about to be sent. Each answer has a parser of its own, which remembers no other."""
        self._asked = True
        self.set_response_params(read_until_eof=True)

    def answers(self, content: StreamReader) -> None:
        """The head of the answer has come."""
        self._content = content
        if self.exception() is not None or self.transport is None:
            self._fail()

    def is_answered(self) -> None:
        self._asked, self._content = False, None

    def data_received(self, data: bytes) -> None:
        if not self._asked:
            if data:
                self.abort()
            return
        super().data_received(data)
        if self.exception() is not None:
            self._fail()
        self._end_if_there_is_more()

    def connection_lost(self, error: BaseException | None) -> None:
        super().connection_lost(error)
        self._fail()

    def _end_if_there_is_more(self) -> None:
        """Than the answer, which has all come."""
        if not self._asked and self.should_close:
            self.abort()

    def _fail(self) -> None:
        content, self._content = self._content, None
        if content is not None and not content.is_eof() and content.exception() is None:
            content.set_exception(ClientPayloadError("the answer was cut"))
