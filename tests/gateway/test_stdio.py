import asyncio
import json
import logging
import os
import resource
import sys

import msgspec
import pytest

from mcpauth.gateway import child as child_module
from mcpauth.gateway.load import Unread
from mcpauth.gateway.modern.caller import Caller
from mcpauth.web import ticks
from tests.fakes.mcp_client import INITIALIZE, Client, ModernClient, gone
from tests.gateway.conftest import CHILD


async def frames(answer):
    return [message async for message in answer.replies]


async def next_of(stream):
    return json.loads(await anext(stream))


@pytest.mark.parametrize("given", ["7", '"7"', '"a\\u0062"', "12345678901234567890123", "-3"])
async def test_an_id_comes_back_as_it_was_written(connect, given):
    client = await connect()
    body = b'{"jsonrpc":"2.0","id":%s,"method":"ping"}' % given.encode()
    (reply,) = await frames(await client.post(body))
    assert b'"id":%s,' % given.encode() in reply


async def test_what_we_do_not_know_passes_untouched(connect):
    client = await connect()
    body = b'{"jsonrpc":"2.0","id":1,"method":"x/new","params":{"f":1.50,\n"u":"\\u00e9"},"x":{"a":[1]}}'
    (reply,) = await frames(await client.post(body))
    assert json.loads(reply)["result"] == {"method": "x/new", "params": {"f": 1.5, "u": "é"}}


async def test_a_frame_of_sixteen_mebibytes_passes_both_ways(connect):
    client = await connect()
    text = "x" * (16 * 2**20 - 1000)
    assert len(await client.text("large", size=len(text))) == len(text)
    assert json.loads(await client.text("echo", text=text))["arguments"]["text"] == text


async def test_progress_reaches_the_request_that_asked_for_it(connect):
    client = await connect()

    async def run(token):
        params = {"name": "x", "arguments": {"do": "progress", "steps": 3}, "_meta": {"progressToken": token, "k": 1}}
        return await client.frames(await client.send("tools/call", params))

    # The same token twice, once as a number and once as a string.
    for token, told in zip([5, "5", 5], await asyncio.gather(run(5), run("5"), run(5)), strict=True):
        assert [frame["params"] for frame in told[:-1]] == [
            {"progressToken": token, "progress": step} for step in range(3)
        ]


async def test_what_is_cancelled_before_the_child_is_there_never_reaches_it(serve, child):
    gateway = await serve(child("fake", "echo"))
    await gateway.settled()
    client = Client(gateway, "fake")
    await client.initialize({**INITIALIZE, "protocolVersion": "2025-11-25", "capabilities": {}})
    calling = asyncio.create_task(client.request("tools/call", {"name": "echo"}, request_id=41))
    await asyncio.sleep(0)
    await client.notify("notifications/cancelled", {"requestId": "41"})
    await client.notify("notifications/cancelled", {"requestId": 41})
    assert (await calling)["error"]["message"] == "the request was cancelled"
    assert json.loads(await client.text("heard")).count("tools/call") == 1


async def test_a_cancellation_names_the_request_by_type_and_value(connect):
    client = await connect()
    one = asyncio.create_task(client.request("tools/call", {"name": "never"}, request_id=41))
    other = asyncio.create_task(client.request("tools/call", {"name": "never"}, request_id="41"))
    await client.request("ping")
    await client.notify("notifications/cancelled", {"requestId": "41", "reason": "no more"})
    assert (await other)["error"]["message"] == "the request was cancelled"
    (told,) = json.loads(await client.text("cancelled"))
    assert told["reason"] == "no more"
    assert told["requestId"] != "41"
    assert not one.done()
    await client.notify("notifications/cancelled", {"requestId": 41})
    await one


async def test_a_question_of_the_child_is_answered_by_the_client(connect):
    client = await connect()
    answer = await client.calling("ask", id="q")
    asked = await next_of(answer.replies)
    assert asked["method"] == "elicitation/create"
    assert asked["params"]["message"] == "how many?"
    await client.notify("notifications/progress", {"progressToken": asked["params"]["_meta"]["progressToken"]})
    assert (await next_of(answer.replies))["params"]["data"] == {"progressToken": "q"}
    reply = {"action": "accept", "content": {"n": 3}}
    accepted = await client.post({"jsonrpc": "2.0", "id": asked["id"], "result": reply})
    assert accepted.reply is None
    result = await next_of(answer.replies)
    assert json.loads(result["result"]["content"][0]["text"]) == reply


async def test_what_belongs_to_no_request_goes_to_the_stream_that_is_listening(connect):
    client = await connect()
    older, newer = client.listen(), client.listen()
    waiting = [asyncio.create_task(client.call("never")) for _ in range(2)]
    # The first is the only request in flight when the child speaks, the second is not.
    assert (await next_of(newer))["params"]["data"] == "waiting"
    newer.close()
    waiting.append(asyncio.create_task(client.call("never")))
    assert (await next_of(older))["params"]["data"] == "waiting"
    await client.gateway.end_grant("g1")
    await asyncio.gather(*waiting)
    assert [message async for message in older] == []


async def test_a_line_that_is_no_message_is_skipped(connect, caplog):
    client = await connect()
    assert await client.text("garbage") == "fine"
    assert "backend_line_skipped" in caplog.text


RESULT = '"result":{"content":[{"type":"text","text":"fine"}]}}'


@pytest.mark.parametrize(
    ("line", "read"),
    [
        ('{"jsonrpc":"2.0","id":"ID",' + RESULT, "fine"),
        ('{"jsonrpc":"2.0","id":ID.0,' + RESULT, "fine"),
        ('\xef\xbb\xbf{"jsonrpc":"2.0","id":ID,' + RESULT, "fine"),
        ('{"jsonrpc":"2.0","id":ID,' + RESULT.replace("fine", "f\xefne"), "f\ufffdne"),
        ('{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"what?"}}', "what?"),
        ('{"jsonrpc":"2.0","id":ID}', "neither a result nor an error"),
    ],
)
async def test_an_odd_answer_is_one(connect, line, read):
    client = await connect()
    answer = await client.call("line", line=line)
    if "error" in answer:
        assert read in answer["error"]["message"]
    else:
        assert answer["result"]["content"][0]["text"] == read


DEEP = "[" * 2000 + "]" * 2000


@pytest.mark.parametrize("share", ["session", "all"])
@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"jsonrpc":"2.0","id":ID,"result":' + DEEP + "}", "nested too deeply"),
        ('{"result":{"id":7,"x":' + DEEP + '},"jsonrpc":"2.0","id":"ID"}', "nested too deeply"),
        ('{"jsonrpc":"2.0","id":ID,"result":{"x":NaN}}', "not JSON"),
        ('{"jsonrpc":"2.0","id":ID,"error":{"code":1,"message":"it broke', "not JSON"),
        ('{"id":ID,"result":{}}', '"jsonrpc" must be'),
        # Where the id cannot be told it must be the only one.
        ('{"result":{"x":"' + "y" * 2**20 + '"},"jsonrpc":"2","id":ID}', '"jsonrpc" must be'),
        ('{"jsonrpc":"2.0","result":{}}', '"id" must be'),
        ('{"jsonrpc":"2.0","id":{"ID":ID},"result":{}}', '"id" must be'),
    ],
)
async def test_an_answer_that_cannot_be_read_leaves_nobody_waiting(connect, line, why, share):
    client = await connect(share=share)
    error = (await client.call("line", line=line))["error"]
    assert error["message"].startswith("the server fake gave an answer that cannot be read")
    assert why in error["message"]


@pytest.mark.parametrize(
    "line",
    [
        '{"jsonrpc":"2.0","id":ID,"method":"x","params":' + DEEP + "}",
        '{"jsonrpc":"2.0","id":99999,"result":' + DEEP + "}",
        '{"jsonrpc":"2.0","id":"x","result":' + DEEP + "}",
        '{"jsonrpc":"2.0","params":{"id":ID,"result":NaN}}',
        '[{"jsonrpc":"2.0","id":ID,"result":NaN}]',
        '"id":ID,"result":',
        '{"id":ID,"resul',
    ],
)
async def test_what_cannot_be_read_and_seems_no_answer_is_skipped(connect, line):
    client = await connect()
    line += '\n{"jsonrpc":"2.0","id":ID,' + RESULT
    assert (await client.call("line", line=line))["result"]["content"][0]["text"] == "fine"


async def test_whose_it_is_cannot_be_told_among_several(connect, caplog):
    client = await connect()
    waiting = asyncio.create_task(client.call("never"))
    await client.text("echo")
    line = '{"jsonrpc":"2.0","result":' + DEEP + "}"
    assert await client.text("line", line=line + '\n{"jsonrpc":"2.0","id":ID,' + RESULT) == "fine"
    assert "backend_line_skipped" in caplog.text
    line = line.replace('"result"', '"id":ID,"result"')
    assert "nested too deeply" in (await client.call("line", line=line))["error"]["message"]
    assert not waiting.done()
    await client.gateway.end_grant("g1")
    await waiting


@pytest.mark.parametrize("era", ["--legacy", "--modern"])
@pytest.mark.parametrize("share", ["session", "all"])
async def test_what_is_about_no_request_is_told_from_what_somebody_waits_for(serve, child, monkeypatch, era, share):
    backend = child("fake", "echo", era, share=share)
    gateway = await serve(backend)
    client = Client(gateway, "fake") if era == "--legacy" else ModernClient(gateway, "fake")
    if era == "--legacy":
        await client.initialize()
    await client.text("echo")
    (session,) = backend._backend._sessions

    async def strays(do, **arguments):
        before = session._child._stray._count
        meta = {"_meta": {"progressToken": "t"}} if era == "--legacy" else {}
        params = {"name": "echo", "arguments": {"do": do, **arguments}, **meta}
        answer = await client.send("tools/call", params, **({} if meta else {"progressToken": "t"}))
        await client.frames(answer)
        return session._child._stray._count - before

    assert await strays("progress", steps=9) == 0
    assert await strays("garbage") == 6 + (era == "--modern" or share == "all")
    assert await strays("leak") >= 3


async def test_a_batch_of_the_childs_is_taken(connect, caplog):
    client = await connect()
    *told, answer = await client.frames(await client.calling("batch"))
    assert answer["result"]["content"][0]["text"] == "fine"
    assert [message["method"] for message in told] == ["notifications/message"]
    assert "a batch may have 100 messages" in str([getattr(record, "fields", {}) for record in caplog.records])


async def test_a_crash_answers_whoever_waits_and_the_next_request_works(connect, caplog):
    client = await connect()
    waiting = asyncio.create_task(client.call("never"))
    before = await client.text("pid")
    error = (await client.call("crash", status=3))["error"]
    assert error["code"] == -32000
    assert "fake ended (exit status 3)" in error["message"]
    assert "for the owner" not in error["message"]
    assert (await waiting)["error"] == error
    reference = error["message"].split()[-1]
    assert any(getattr(record, "fields", {}).get("reference") == reference for record in caplog.records)
    assert await client.text("pid") != before


async def test_a_child_that_hangs_up_is_ended(connect):
    client = await connect(grace=0.1)
    assert "closed its standard" in (await client.call("hang_up"))["error"]["message"]


async def test_stderr_goes_to_the_log_in_small_portions(connect, caplog):
    caplog.set_level(logging.INFO)
    client = await connect(grace=0.1)
    await client.text("complain", lines=300, size=2000)
    await client.gateway.close()
    told = [record.fields for record in caplog.records if record.getMessage() == "backend_stderr"]
    assert len(told) < 120
    assert all(len(fields["line"]) <= 500 and fields["backend"] == "fake" for fields in told)
    assert "backend_stderr_dropped" in caplog.text


async def test_a_child_that_ends_when_it_is_asked_what_it_offers_is_one_line(serve, child, caplog):
    """Which names what it wrote: it was started twice, to be asked in either era."""
    caplog.set_level(logging.INFO)
    gateway = await serve(child("fake", command="/bin/sh", args=("-c", "echo no licence >&2; exit 7")))
    ((_, _, reason, _, _),) = await gateway.settled()
    (told,) = [record for record in caplog.records if record.levelno > logging.INFO]
    assert (told.getMessage(), told.fields["reason"]) == ("backend_unavailable", reason)
    assert "exit status 7" in reason
    reference = reason.rpartition(" ")[2]
    stderr = [record.fields for record in caplog.records if record.getMessage() == "backend_stderr"]
    assert {"backend": "fake", "reference": reference, "line": "no licence"} in stderr


async def test_what_keeps_failing_alike_is_one_line_and_found_by_one_reference(serve, child, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    works = tmp_path / "works"
    program = f'[ -e {works} ] && exec "$0" "$@"; echo no licence >&2; exit 7'
    gateway = await serve(child("fake", command="/bin/sh", args=("-c", program, sys.executable, str(CHILD), "echo")))

    async def asked():
        gateway._catalogue.refresh("fake")
        while gateway._catalogue.asking("fake"):  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.01)
        return gateway.backends()[0].reason

    first = (await gateway.settled())[0].reason
    assert await asked() == first
    about = [record.fields for record in caplog.records if record.levelno > logging.INFO]
    assert [fields["reason"] for fields in about] == [first]
    references = [record.fields["reference"] for record in caplog.records if record.message == "backend_stderr"]
    assert set(references) == {first.split()[-1]}
    assert len(references) >= 4  # each time in both eras
    works.touch()
    assert await asked() is None
    assert await asked() is None
    works.unlink()
    assert await asked() != first


async def test_what_a_child_wrote_last_is_for_the_owner_alone(serve, child, caplog):
    told = r"echo first >&2; printf 'needs \033[1m a key; client_secret=s3cret %0400d\n\n' 0 >&2; exit 3"
    gateway = await serve(child("fake", command="/bin/sh", args=("-c", told)))
    (state,) = offers = await gateway.settled()
    assert state.last_line.startswith(r"needs \x1b[1m a key; client_secret=[secret] 000")
    assert len(state.last_line) == 300
    said = json.dumps([await Client(gateway, "fake").initialize(), await ModernClient(gateway, "fake").call("x")])
    assert said.count("exit status 3") == 2
    for public in (said, json.dumps(ticks.show(offers, None)), state.reason):
        assert "a key" not in public
    assert all("a key" not in str(r.fields) for r in caplog.records if r.getMessage() != "backend_stderr")


async def test_who_complains_too_much_has_to_wait(connect, monkeypatch, caplog):
    monkeypatch.setattr(child_module, "BREATH", 3600.0)
    client = await connect()
    pid = int(await client.text("pid"))
    complaining = asyncio.create_task(client.text("complain", lines=2000, size=1000))
    other = Client(client.gateway, "fake")
    await other.initialize()
    for _ in range(1000):
        await other.text("echo")
    assert not complaining.done()
    # It ends as quickly as any other.
    client.gateway.end_session(client.who, backend="fake", session_id=client.session_id)
    with pytest.raises(KeyError):
        await complaining
    await gone(pid)


async def test_a_flood_waits_for_its_reader(connect):
    client = await connect()
    flood = {"do": "flood", "count": 400, "size": 5000}
    answer = await client.send("tools/call", {"name": "x", "arguments": flood, "_meta": {"progressToken": 1}})
    await anext(answer.replies)
    # Meanwhile nobody reads: the child is stuck in its writing. Other sessions do not notice.
    behind = asyncio.create_task(client.request("ping"))
    other = Client(client.gateway, "fake")
    await other.initialize()
    for _ in range(300):
        await other.text("echo")
    assert not behind.done()
    told = await client.frames(answer)
    assert [frame["params"]["message"][5000:] for frame in told[:-1]] == [str(number) for number in range(1, 400)]
    await behind


async def test_a_child_gets_a_bare_environment(connect, monkeypatch):
    monkeypatch.setenv("MCP_OAUTH_JWT_SECRET", "ours")
    monkeypatch.setenv("LANG", "C.UTF-8")
    client = await connect(env={"TOKEN": "theirs"})
    env = json.loads(await client.text("environment"))["env"]
    assert env["TOKEN"] == "theirs"
    assert set(env) - {"LC_CTYPE"} <= {"PATH", "HOME", "LANG", "TMPDIR", "TOKEN"}


async def test_what_cannot_go_with_an_answer_waits_in_the_mailbox(connect):
    client = await connect()
    answer = await client.calling("ask")
    answer.replies.streams = False
    reading = asyncio.create_task(client.frames(answer))
    asked = await next_of(client.listen())
    await client.post({"jsonrpc": "2.0", "id": asked["id"], "result": {}})
    assert len(await reading) == 1


async def test_nothing_is_left_of_a_session_that_ended(connect):
    client = await connect(grace=0.2)
    pid, grandchild = int(await client.text("pid")), int(await client.text("grandchild"))
    client.gateway.end_session(client.who, backend="fake", session_id=client.session_id)
    await gone(pid)
    await gone(grandchild)


async def test_nothing_is_left_of_a_child_that_crashed(connect):
    client = await connect()
    grandchild = int(await client.text("grandchild"))
    await client.call("crash")
    await gone(grandchild)


async def test_stopping_ends_even_those_that_will_not(serve, child):
    gateway = await serve(child("one", "--stubborn", "a", grace=0.2), child("two", "--stubborn", "b", grace=0.2))
    pids = []
    for name in ("one", "two", "one"):
        client = Client(gateway, name)
        await client.initialize()
        pids.append(int(await client.text("x", do="pid")))
        pids.append(int(await client.text("x", do="grandchild")))
    waiting = asyncio.create_task(client.call("never"))
    await client.request("ping")
    await gateway.close()
    for pid in pids:
        await gone(pid)
    assert (await waiting)["error"]["message"] == "mcpauth is stopping; try again shortly"


@pytest.mark.parametrize("command", ["no-such-program", "/etc/hostname"])
async def test_a_program_that_does_not_start_is_named(serve, child, command):
    client = Client(await serve(child("fake", command=command)), "fake")
    error = (await client.initialize())["error"]
    assert client.session_id is None
    assert command in error["message"]
    assert "mcp.json" in error["message"]


async def test_a_program_that_cannot_be_started_now_is_tried_again(connect):
    """The system has nothing left to give for a while: that is one request's error."""
    client = await connect()
    await client.call("crash")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        refused = await client.call("echo", text="x")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "does not start (Too many open files)" in json.dumps(refused)
    assert json.loads(await client.text("echo", text="x"))["arguments"] == {"text": "x"}


async def test_a_child_in_a_group_of_its_own_is_not_ours(connect):
    client = await connect()
    assert os.getpgid(int(await client.text("pid"))) != os.getpgid(0)


async def test_a_child_that_does_not_read_is_told_no_more_than_can_wait(child):
    backend = child("deaf", command="sleep", args=("600",), grace=0.2)._backend
    session = await backend.open(lambda frame: None, Caller("ann", "g1", Unread(), msgspec.Raw(b"{}")))
    frame = {"jsonrpc": msgspec.Raw(b'"2.0"'), "method": msgspec.Raw(b'"%s"' % (b"x" * 2**20))}
    waiting = []
    for _ in range(64):
        waiting.append(asyncio.create_task(session.notify(frame)))
        await asyncio.sleep(0)
    assert session._child._pipes.stdin.get_write_buffer_size() < child_module.BACKLOG + 2**22
    await session.close()
    await asyncio.gather(*waiting)


@pytest.mark.parametrize("share", ["session", "user", "all"])
async def test_of_each_child_the_log_tells_that_it_started_and_how_to_find_its_lines(connect, caplog, share):
    caplog.set_level(logging.INFO)
    client = await connect(share=share)
    reference = (await client.call("crash"))["error"]["message"].split()[-1]
    started = [one.fields for one in caplog.records if one.message == "backend_started"]
    assert started == [{"backend": "fake", "reference": reference}]
