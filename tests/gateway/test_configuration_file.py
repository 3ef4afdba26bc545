"""mcp.json is changed while somebody watches it."""

import asyncio
import errno
import json
import os

import pytest

from mcpauth.errors import SettingsError
from mcpauth.gateway import configuration, configuration_file
from mcpauth.gateway.configuration_file import ConfigurationFile

ONE = {"mcpServers": {"one": {"command": "x"}}}
TWO = {"mcpServers": {"one": {"command": "x"}, "two": {"command": "y"}}}


def no_more(**options):
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


@pytest.fixture(params=["told", "looking"])
def told(request, monkeypatch):
    """Both ways to learn of a change: from the kernel, and by looking."""
    if request.param == "looking":
        monkeypatch.setattr(configuration_file, "INotify", no_more)
        monkeypatch.setattr(configuration_file, "LOOK", 0.01)
    monkeypatch.setattr(configuration_file, "SECOND_LOOK", 0.2)
    monkeypatch.setattr(configuration_file, "SETTLED", 0.1)
    return request.param == "told"


class Watched:
    """The file; ``taken`` are the names of what was taken of it, one list for each time."""

    def __init__(self, path):
        self.path = path
        self.write(ONE)
        self.taken = asyncio.Queue()
        self.refuse = None
        self.file = ConfigurationFile(path, configuration.read(path), self.take)

    def write(self, document):
        """In place, as some editors do."""
        self.path.write_text(document if isinstance(document, str) else json.dumps(document))
        self.path.chmod(0o600)

    def take(self, given):
        if self.refuse:
            raise SettingsError(self.refuse)
        self.taken.put_nowait(list(given.servers))

    async def problem(self, text):
        while text not in (self.file.problem or ""):  # noqa: ASYNC110 - it is set without a word
            await asyncio.sleep(0.01)


@pytest.fixture
def watched(io_loop, tmp_path, told):
    async def start():
        watched = Watched(tmp_path / "mcp.json")
        watched.file.start()
        await asyncio.sleep(0)
        return watched

    watched = io_loop.run_sync(start)
    yield watched
    io_loop.run_sync(watched.file.close)


async def test_a_change_of_what_a_link_leads_to_is_taken(watched, tmp_path, monkeypatch):
    monkeypatch.setattr(configuration_file, "LOOK", 0.01)
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "mcp.json"
    watched.path.rename(target)
    watched.path.symlink_to(target)
    assert await watched.taken.get() == ["one"]
    watched.write(TWO)
    assert await watched.taken.get() == ["one", "two"]


async def test_a_change_is_taken_however_it_is_saved(watched, tmp_path):
    watched.write(TWO)
    assert await watched.taken.get() == ["one", "two"]
    (tmp_path / "new").write_text(json.dumps(ONE))
    (tmp_path / "new").chmod(0o600)
    (tmp_path / "new").rename(watched.path)
    assert await watched.taken.get() == ["one"]
    watched.path.rename(tmp_path / "mcp.json~")
    watched.write(TWO)
    assert await watched.taken.get() == ["one", "two"]
    assert watched.file.problem is None


async def test_a_burst_is_read_once(watched):
    for _ in range(20):
        watched.write(ONE)
        watched.write(TWO)
        await asyncio.sleep(0)
    assert await watched.taken.get() == ["one", "two"]
    watched.write(ONE)
    assert await watched.taken.get() == ["one"]
    assert watched.taken.empty()


async def test_a_mistake_is_refused_with_line_and_key_and_what_was_taken_stays(watched, caplog):
    watched.write('{"mcpServers": {\n "one": {\n  "command": "x",\n  "env": {"KEY": 7}}}}')
    await watched.problem("mcp.json, line 4: mcpServers.one.env.KEY")
    watched.write('{"mcpServers": {\n "one": {"command": "x"},}}')
    await watched.problem("line 2: a comma too many")
    watched.path.unlink()
    await watched.problem("No such file")
    assert watched.taken.empty()
    assert caplog.text.count("configuration_refused") == 3
    watched.write(TWO)
    assert await watched.taken.get() == ["one", "two"]
    assert watched.file.problem is None


async def test_what_is_ignored_is_noted_when_it_is_taken(watched, caplog):
    watched.write({"mcpServers": {"one": {"command": "x", "colour": "red"}}})
    assert await watched.taken.get() == ["one"]
    while "configuration_noted" not in caplog.text:  # noqa: ASYNC110 - it is set without a word
        await asyncio.sleep(0.01)
    assert watched.file.notes == ("mcp.json: mcpServers.one.colour: unknown, ignored",)


async def test_what_cannot_be_made_is_refused_too(watched):
    watched.refuse = "the variable X is not set"
    watched.write(TWO)
    await watched.problem("X is not set")
    assert watched.taken.empty()


async def test_a_half_written_file_is_looked_at_again(watched, caplog, monkeypatch):
    read = configuration.read
    seen = []

    def reading(path):
        seen.append(path.read_text())
        if len(seen) == 1:
            watched.write(TWO)  # The other half, when the first has just been read.
            raise SettingsError("half")
        return read(path)

    monkeypatch.setattr(configuration, "read", reading)
    watched.write('{"mcpServers": {')
    assert await watched.taken.get() == ["one", "two"]
    assert seen == ['{"mcpServers": {', json.dumps(TWO)]
    assert "configuration_refused" not in caplog.text


async def test_a_file_that_others_may_write_is_not_taken(watched):
    """Whoever writes it chooses which programs run here."""
    watched.path.write_text(json.dumps(TWO))
    watched.path.chmod(0o666)
    await watched.problem("chmod 600")
    assert watched.taken.empty()
    watched.path.chmod(0o600)
    assert await watched.taken.get() == ["one", "two"]


async def test_nothing_is_left_when_it_is_watched_no_more(tmp_path, told):
    before = len(os.listdir("/proc/self/fd"))
    watched = Watched(tmp_path / "mcp.json")
    watched.file.start()
    await asyncio.sleep(0)  # The watch has begun.
    assert (len(os.listdir("/proc/self/fd")) > before) is told
    await watched.file.close()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_the_limits_are_those_of_the_file_that_was_taken(watched):
    watched.write({**TWO, "limits": {"processes": 3}})
    await watched.taken.get()
    assert watched.file.limits.processes == 3
