import json
import os
import re
import stat

import pytest

from mcpauth.errors import SettingsError
from mcpauth.gateway import configuration


@pytest.fixture
def write(tmp_path):
    """Puts these servers into an mcp.json."""

    def put(servers, mode=0o600):
        path = tmp_path / "mcp.json"
        path.write_text(servers if isinstance(servers, str) else json.dumps({"mcpServers": servers}))
        path.chmod(mode)
        return path

    return put


def test_the_default_serves_a_private_folder_with_a_note(tmp_path):
    data = tmp_path / "data"
    configuration.create_default(data)
    for path, mode in [(data, 0o700), (data / "files", 0o700), (data / "mcp.json", 0o600)]:
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert "mcp.json" in (data / "files" / "welcome.md").read_text()
    given = configuration.read(data / "mcp.json")
    assert given.servers["files"].root == data / "files"
    assert not given.servers["files"].write
    assert given.notes == ()


def test_a_pipe_in_its_place_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "mcp.json", 0o600)
    with pytest.raises(SettingsError, match="regular file"):
        configuration.read(tmp_path / "mcp.json")


def test_the_default_replaces_nothing(tmp_path, write):
    write({})
    configuration.create_default(tmp_path)
    assert configuration.read(tmp_path / "mcp.json").servers == {}


def test_a_file_of_claude_desktop_works_as_it_is(write):
    given = configuration.read(
        write({"My Git": {"command": "uvx", "args": ["mcp-server-git"], "env": {"A": "b"}, "autoApprove": ["x"]}})
    )
    server = given.servers["my-git"]
    assert (server.command, server.args, server.env) == ("uvx", ("mcp-server-git",), {"A": "b"})
    assert any('"My Git" is called my-git' in note for note in given.notes)
    assert any("autoApprove: unknown, ignored" in note for note in given.notes)


def test_how_children_are_shared_and_when_they_end_is_the_owners_choice(write):
    given = configuration.read(
        write({"near": {"command": "x", "share": "all", "idle_stop": 60}, "plain": {"command": "x"}})
    )
    assert [(one.share, one.idle_stop) for one in given.servers.values()] == [("all", 60), (None, None)]
    assert not given.notes


def test_where_nothing_is_shared_that_is_said(write):
    given = configuration.read(write({"far": {"url": "https://example.com/mcp", "share": "all", "idle_stop": 60}}))
    assert [note.split(": ")[1] for note in given.notes] == ["mcpServers.far.share", "mcpServers.far.idle_stop"]


def test_null_is_as_if_the_key_were_not_there(write):
    keys = ["command", "args", "env", "cwd", "url", "headers", "type", "share", "tools", "enabled", "disabled"]
    for server in [{"command": "x"}, {"url": "https://x/mcp"}]:
        given = configuration.read(write({"a": dict.fromkeys(keys) | server, "b": server}))
        assert given.servers["a"] == given.servers["b"]
        assert not given.notes
    assert configuration.read(write({"a": {"command": "x", "arg": None}})).notes
    with pytest.raises(SettingsError, match=r"a\.env\.TOKEN: must be text"):
        configuration.read(write({"a": {"command": "x", "env": {"TOKEN": None}}}))


@pytest.mark.parametrize(
    ("keys", "off"),
    [
        ({"enabled": False}, True),
        ({"disabled": True}, True),
        ({"enabled": True, "disabled": True}, True),
        ({"enabled": True}, False),
        ({"disabled": False}, False),
    ],
)
def test_what_is_switched_off_is_not_served_and_still_read(write, keys, off):
    given = configuration.read(write({"on": {"command": "x"}, "Off": {"command": "y", **keys}}))
    assert list(given.servers) == (["on"] if off else ["on", "off"])
    assert given.switched_off == (("off",) if off else ())
    assert given.notes == ('mcp.json: "Off" is called off',)
    with pytest.raises(SettingsError, match=r"a\.args: must be a list"):
        configuration.read(write({"a": {"command": "y", "args": "z", **keys}}))


def test_a_remote_server_has_an_address_and_headers(write):
    headers = {"Authorization": "Bearer s3cret"}
    given = configuration.read(
        write(
            {
                "far": {"url": "https://example.com/mcp", "headers": headers},
                "old": {"type": "sse", "url": "http://localhost:1/sse", "headers": headers},
                "lan": {"type": "streamable-http", "url": "http://nas:1/mcp", "headers": headers, "x": 1},
                "off": {"url": "http://nas:1/mcp", "headers": headers, "enabled": False},
            }
        )
    )
    assert {name: server.type for name, server in given.servers.items()} == {
        "far": "http",
        "old": "sse",
        "lan": "streamable-http",
    }
    assert given.servers["far"].headers == headers
    assert given.notes == (
        "mcp.json: mcpServers.lan.x: unknown, ignored",
        'mcp.json: "lan": http, not https: its headers can be read on their way',
    )


def test_paths_are_relative_to_the_file_and_home(write, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/ann")
    given = configuration.read(
        write({"a": {"builtin": "files", "root": "~/notes"}, "b": {"command": "x", "cwd": "work"}})
    )
    assert str(given.servers["a"].root) == "/home/ann/notes"
    assert given.servers["b"].cwd == tmp_path / "work"


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_refused(write, mode):
    path = write({}, mode)
    with pytest.raises(SettingsError, match=f"chmod 600 {path}"):
        configuration.read(path)


@pytest.mark.parametrize(
    ("servers", "named"),
    [
        ('{"mcpServers": {\n  "a": hush\n}}', "line 2"),
        ("[]", "one object"),
        ("{}", "mcpServers"),
        ('{"mcpServers": {"a": {"command": "x"}, "a": {"command": "y"}}}', '"a" is there twice'),
        ({"a": {"args": ["hush"]}}, "mcpServers.a must have one of"),
        ({"a": {"command": "x", "url": "https://hush"}}, "mcpServers.a must have one of"),
        ({"a": {"command": "x", "env": {"TOKEN": 12345}}}, "mcpServers.a.env.TOKEN"),
        ({"a": {"command": ["hush"]}}, "mcpServers.a.command"),
        ({"a": {"url": "hush"}}, "mcpServers.a.url"),
        ({"a": {"url": "ftp://hush/mcp"}}, "mcpServers.a.url"),
        ({"a": {"url": "http://hush\\x/mcp"}}, "mcpServers.a.url"),
        ({"a": {"url": "http://[::1]hush/mcp"}}, "mcpServers.a.url"),
        ({"a": {"url": "https://"}}, "mcpServers.a.url"),
        ({"a": {"url": "https://x:hush/mcp"}}, "mcpServers.a.url"),
        ({"a": {"url": "https://ann:hush@x/mcp"}}, "put them into headers"),
        ({"a": {"url": "https://x/hush\r\nhush"}}, "mcpServers.a.url"),
        ({"a": {"url": "https://x/mcp", "type": "hush"}}, "mcpServers.a.type"),
        ({"a": {"url": "https://x/mcp", "headers": {"X-Key": ["hush"]}}}, "mcpServers.a.headers.X-Key"),
        ({"a": {"builtin": "hush", "root": "x"}}, "mcpServers.a.builtin"),
        ({"a": {"builtin": "files"}}, "mcpServers.a.root"),
        ({"a": {"command": "x", "share": "hush"}}, "mcpServers.a.share"),
        ({"a": {"command": "x", "tools": {"deny": "hush"}}}, "mcpServers.a.tools.deny"),
        ({"a": {"command": "x", "idle_stop": 0}}, "mcpServers.a.idle_stop"),
        ({"read": {"command": "x"}}, "reserved"),
        ({"Read!": {"command": "x"}}, "reserved"),
        ({"***": {"command": "x"}}, "needs a name"),
        ({"a b": {"command": "x"}, "A-B": {"command": "y"}}, "both called a-b"),
    ],
)
def test_a_mistake_is_named_and_no_value_is(write, servers, named):
    with pytest.raises(SettingsError) as refused:
        configuration.read(write(servers))
    assert named in str(refused.value)
    assert "hush" not in str(refused.value)
    assert "12345" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"mcpServers": {\n"a": {"command": "x"},\n"a": {"command": "y"}}}', '3: "a" is there twice'),
        ('{"mcpServers": {"a": {"command": "x",\n"args": ["\\"command\\": {"],\n"command": "y"}}}', '3: "command" is'),
        ('{"mcpServers": {\n"A": {"command": "x"},\n"a": {"command": "y"}}}', '3: mcpServers.a: this and "A" are both'),
        ('{"mcpServers": {\n"read": {"command": "x"}}}', "2: mcpServers.read: the name read is reserved"),
        ('{"mcpServers": {\n"!!": {"command": "x"}}}', "2: mcpServers.!!: a server needs a name"),
        ('{\n"mcpServers": []}', "2: mcpServers must be an object"),
        ('{"mcpServers": {\n"a": 7}}', "2: mcpServers.a must be an object"),
    ],
)
def test_a_mistake_is_named_with_its_line(write, text, said):
    with pytest.raises(SettingsError, match=rf"^{re.escape('mcp.json, line ' + said)}"):
        configuration.read(write(text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "mcp.json: the file is empty"),
        (" \n", "mcp.json: the file is empty"),
        ('{"mcpServers": {\n"a": {"command": "x"},\n\n}}', "mcp.json, line 2: a comma too many before }"),
        ('{"mcpServers": {"a": {"command": "x",\n"args": ["y",\n]}}}', "mcp.json, line 2: a comma too many before ]"),
        ('{\n// why\n"mcpServers": {}}', "mcp.json, line 2: comments are not allowed in JSON"),
        ('{"mcpServers": {}, # why\n"limits": {}}', "mcp.json, line 1: comments are not allowed in JSON"),
        ('{"mcpServers": {} /* why */}', "mcp.json, line 1: comments are not allowed in JSON"),
        ('{"mcpServers": {}', "mcp.json, line 1, column 18: Expecting ',' delimiter"),
    ],
)
def test_a_slip_in_json_is_told_where_it_was_made(write, text, said):
    with pytest.raises(SettingsError) as refused:
        configuration.read(write(text))
    assert str(refused.value) == said


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ({"command": "x", "args": "-y foo"}, 'a.args: must be a list: ["-y", "foo"]'),
        ({"command": "x", "args": ["-p", 8080]}, 'a.args.1: must be text in quotes, a number too: "8080"'),
        ({"command": ["x", "y"]}, 'a.command: must be the program alone, in quotes; the rest belongs into "args"'),
        ({"command": "\ud800"}, "a.command: must be text without halves of characters"),
        ({"command": ""}, "a.command: must not be empty"),
        ({"command": "x", "tools": ["y"]}, 'a.tools: must be {"allow": […], "deny": […]}'),
        ({"command": "x", "tools": {"deny": "y"}}, 'a.tools.deny: must be a list: ["write_*"]'),
        ({"command": "x", "env": ["A=b"]}, 'a.env: must be {"NAME": "value"}'),
        ({"command": "x", "env": {"args": 7}}, 'a.env.args: must be text in quotes, a number too: "8080"'),
        ({"command": "x", "cwd": 7}, "a.cwd: must be a path in quotes"),
        ({"command": "x", "enabled": "perhaps"}, "a.enabled: must be true or false"),
        ({"command": "x", "disabled": "true"}, "a.disabled: must be true or false"),
        ({"command": "x", "disabled": 1}, "a.disabled: must be true or false"),
        ({"command": "x", "idle_stop": "soon"}, "a.idle_stop: must be a whole number"),
        ({"command": "x", "idle_stop": True}, "a.idle_stop: must be a whole number"),
        ({"command": "x", "idle_stop": 0}, "a.idle_stop: must be 1 or more"),
        ({"command": "x", "share": "all of us"}, 'a.share: must be "session", "user" or "all"'),
        ({"url": "https://x:${PORT}/mcp"}, "a.url: must be the address itself; ${…} counts only in headers"),
        ({"url": "example.com"}, "a.url: must be an address that begins with https:// or http://"),
        ({"builtin": "files"}, "a.root: it is missing"),
        ({"builtin": "files", "root": None}, "a.root: it is missing"),
    ],
)
def test_a_wrong_value_is_told_in_the_words_of_the_file(write, server, said):
    with pytest.raises(SettingsError) as refused:
        configuration.read(write({"a": server}))
    assert str(refused.value) == f"mcp.json, line 1: mcpServers.{said}"


@pytest.mark.parametrize(
    ("server", "place"),
    [
        ({"command": "x", "env": {"TOKEN": "${hush}", "OTHER": "$hush"}}, "env.TOKEN"),
        ({"command": "x", "args": ["-k", "--key=${hush}"]}, "args.1"),
        ({"command": "sh", "args": ["-c", "x ${HOME}"], "cwd": "${hush}"}, "cwd"),
        ({"url": "https://x/${hush}/mcp", "headers": {"X": "${env:Y}"}}, "url"),
        ({"builtin": "files", "root": "${hush}/notes"}, "root"),
    ],
)
def test_a_reference_where_none_is_filled_in_is_noted(write, server, place):
    given = configuration.read(write({"a": server}))
    assert given.notes == (
        f"mcp.json: mcpServers.a.{place}: ${{…}} counts only in headers, and is taken as it stands here; "
        "write the value itself",
    )
    assert "${hush}" in repr(given.servers["a"])


def test_arguments_in_command_are_noted_and_a_program_with_spaces_in_its_name_is_not(write, tmp_path):
    program = tmp_path / "my programs" / "run it"
    program.parent.mkdir()
    program.touch(0o755)
    there = {
        "whole": {"command": str(program)},
        "beside": {"command": "my programs/run it", "cwd": "."},
        "found": {"command": "run it", "env": {"PATH": str(program.parent)}},
        "plain": {"command": "not-installed", "args": ["hush"]},
    }
    assert not configuration.read(write(there)).notes
    for command in ["sh -c hush", f"{program} hush"]:
        [note] = configuration.read(write({"a": {"command": command}})).notes
        assert note.startswith("mcp.json: mcpServers.a.command: there is no such program; what comes after")
        assert note.endswith('belongs into "args"')


@pytest.mark.parametrize(
    ("servers", "said"),
    [
        ({"a": {"builtin": "files", "rot": "x"}}, 'mcpServers.a.rot: unknown key "rot"; did you mean "root"?'),
        ({"a": {"builtin": "files", "Root": "x"}}, 'mcpServers.a.Root: unknown key "Root"; did you mean "root"?'),
        ({"a": {"comand": "x"}}, 'mcpServers.a.comand: unknown key "comand"; did you mean "command"?'),
        ({"a": {"URL": "https://x"}}, 'mcpServers.a.URL: unknown key "URL"; did you mean "url"?'),
        ({"a": {"builtins": "files"}}, 'mcpServers.a.builtins: unknown key "builtins"; did you mean "builtin"?'),
        ('{\n"servers": {}}', 'mcp.json, line 2: servers: unknown key "servers"; did you mean "mcpServers"?'),
    ],
)
def test_a_key_that_is_misspelt_is_named_with_the_right_one(write, servers, said):
    with pytest.raises(SettingsError) as refused:
        configuration.read(write(servers))
    assert str(refused.value).endswith(said)


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ({"command": "x", "arg": []}, 'mcpServers.a.arg: unknown, ignored; did you mean "args"?'),
        ({"command": "x", "idleStop": 9}, 'mcpServers.a.idleStop: unknown, ignored; did you mean "idle_stop"?'),
        ({"command": "x", "disable": True}, 'mcpServers.a.disable: unknown, ignored; did you mean "disabled"?'),
        ({"builtin": "files", "root": "x", "writes": True}, 'ignored; did you mean "write"?'),
        ({"url": "https://x", "header": {}}, 'mcpServers.a.header: unknown, ignored; did you mean "headers"?'),
        ({"command": "x", "tools": {"denny": []}}, 'mcpServers.a.tools.denny: unknown, ignored; did you mean "deny"?'),
        ({"command": "x", "autoApprove": []}, "mcpServers.a.autoApprove: unknown, ignored"),
    ],
)
def test_what_is_ignored_is_named_with_what_was_meant(write, server, said):
    [note] = configuration.read(write({"a": server})).notes
    assert note.endswith(said)


@pytest.mark.parametrize(
    ("given", "tool", "admitted"),
    [
        ({}, "x", True),
        ({"allow": ["read_*"]}, "read_file", True),
        ({"allow": ["read_*"]}, "write_file", False),
        ({"deny": ["write_*"]}, "write_file", False),
        ({"allow": ["*"], "deny": ["*_file"]}, "read_file", False),
        ({"allow": []}, "x", False),
    ],
)
def test_deny_wins_over_allow(given, tool, admitted):
    assert configuration.ToolFilter(**given).admits(tool) is admitted


def test_there_are_limits_unless_others_are_given(write):
    assert configuration.read(write({})).limits == configuration.Limits()
    given = configuration.read(write('{"mcpServers": {}, "limits": {"processes": 3, "proceses_per_user": 1}}'))
    assert given.limits == configuration.Limits(processes=3)
    (note,) = given.notes
    assert note == 'mcp.json: limits.proceses_per_user: unknown, ignored; did you mean "processes_per_user"?'


@pytest.mark.parametrize(
    ("limits", "refused"),
    [
        ('{"processes": 0}', "limits.processes"),
        ('{"processes": "x"}', "limits.processes"),
        ('{"processes_per_user": true}', "limits.processes_per_user: must be a whole number"),
        ("7", "limits must be"),
    ],
)
def test_limits_that_are_none_are_refused(write, limits, refused):
    with pytest.raises(SettingsError, match=refused):
        configuration.read(write('{"mcpServers": {}, "limits": ' + limits + "}"))
