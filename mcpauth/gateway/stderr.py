"""What children write on stderr goes to the log, in short lines and not too many of them."""

import asyncio
import logging
import re

from .. import log

logger = logging.getLogger(__name__)

LINE = 500
LINES, PER_SECONDS = 50, 10.0
# Of the last one that is kept.
SHOWN = 300
# npm says what is wrong first. What it adds to that is advice, news, and where its own log is.
OF_NPM = "npm "
NPM_SAYS = re.compile(r"npm (?:error|ERR!) (?!code |syscall |path |errno )")


class StderrLog:
    """Lines beyond LINE bytes are cut; of more than LINES in PER_SECONDS only the number is logged."""

    def __init__(self, backend: str, reference: str) -> None:
        """``reference`` says of which process they are: whoever is told of its end is told that."""
        self._about = {"backend": backend, "reference": reference}
        self._partial = b""
        self._last = ""
        self._since = 0.0
        self._logged = self._dropped = 0

    def feed(self, data: bytes) -> bool:
        """Whether some of it was more than is logged."""
        before = self._dropped
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._log(self._partial + line[:LINE])
            self._partial = b""
        self._partial = (self._partial + rest[:LINE])[:LINE]
        return self._dropped > before

    @property
    def last_line(self) -> str:
        """The last that says something, in printable characters: a program wrote it."""
        return log.printable(self._last, SHOWN)

    def close(self) -> None:
        if self._partial:
            self._log(self._partial)
        self._report()

    def _log(self, line: bytes) -> None:
        text = line[:LINE].decode("utf-8", "replace").rstrip()
        if not text:
            return
        if not (text.startswith(OF_NPM) and NPM_SAYS.match(self._last)):
            self._last = text
        now = asyncio.get_running_loop().time()
        if now - self._since > PER_SECONDS:
            self._report()
            self._since, self._logged = now, 0
        if self._logged < LINES:
            self._logged += 1
            logger.info("backend_stderr", extra=log.fields(**self._about, line=text))
        else:
            self._dropped += 1

    def _report(self) -> None:
        if self._dropped:
            logger.warning("backend_stderr_dropped", extra=log.fields(**self._about, lines=self._dropped))
            self._dropped = 0
