"""Whether Tailscale leads to this server, and what is said when it does not."""

from pathlib import Path

import pytest

from mcpauth.host.doctor import tailnet
from mcpauth.host.tailscale import LocalAPI
from mcpauth.models.findings import Finding
from mcpauth.settings import Settings
from tests.fakes.tailscaled import HOST, SUFFIX, FakeTailscaled
from tests.host.doctor.conftest import Read, of, verdicts

COMMAND = "tailscale funnel --bg 3210"
HERE = "http://127.0.0.1:3210"
URL = f"https://{HOST}"


async def look(settings: Settings, tailscaled: FakeTailscaled) -> list[Finding]:
    return await tailnet.look(settings, LocalAPI(tailscaled.socket))


@pytest.mark.parametrize("target", [HERE, "http://localhost:3210", "http://localhost:3210/", "127.0.0.1:3210"])
async def test_all_is_well_with_a_funnel_at_the_root(settings: Read, tailscaled: FakeTailscaled, target: str) -> None:
    tailscaled.serve(target, funnel=True)
    found = await look(settings(), tailscaled)
    assert [one.check for one in found] == ["Tailscale", "HTTPS", URL, "Funnel"]
    assert verdicts(found) == {"fine"}
    assert HOST in of("Tailscale", found).found


async def test_a_socket_is_led_to_as_well(settings: Read, tailscaled: FakeTailscaled) -> None:
    by_socket = settings(UNIX_SOCKET="/run/mcpauth/mcpauth.sock")
    tailscaled.serve("unix:/run/mcpauth/mcpauth.sock", funnel=True)
    assert verdicts(await look(by_socket, tailscaled)) == {"fine"}
    tailscaled.serve(HERE, funnel=True)
    found = of(URL, await look(by_socket, tailscaled))
    assert (found.verdict, found.fix.startswith("tailscale funnel --bg unix:/run/mcpauth/mcpauth.sock")) == (
        "problem",
        True,
    )


async def test_a_socket_may_have_two_paths(settings: Read, tailscaled: FakeTailscaled, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "var").symlink_to(tmp_path / "run")
    tailscaled.serve(f"unix:{tmp_path}/var/mcpauth.sock", funnel=True)
    assert verdicts(await look(settings(UNIX_SOCKET=f"{tmp_path}/run/mcpauth.sock"), tailscaled)) == {"fine"}


async def test_nothing_leads_here(settings: Read, tailscaled: FakeTailscaled) -> None:
    found = of(URL, await look(settings(), tailscaled))
    assert (found.verdict, found.fix) == ("problem", COMMAND)
    assert "nothing leads" in found.found


@pytest.mark.parametrize("target", ["http://127.0.0.1:3000", "https+insecure://127.0.0.1:3210", f"{HERE}/mcp", ""])
async def test_something_else_is_there(settings: Read, tailscaled: FakeTailscaled, target: str) -> None:
    tailscaled.serve(target, funnel=True)
    found = of(URL, await look(settings(), tailscaled))
    assert found.verdict in ("problem", "warning")
    assert found.fix.count(COMMAND) == 1


async def test_what_is_there_instead_is_named(settings: Read, tailscaled: FakeTailscaled) -> None:
    tailscaled.serve("http://127.0.0.1:3000", funnel=True)
    found = of(URL, await look(settings(), tailscaled))
    assert found.verdict == "problem"
    assert "http://127.0.0.1:3000" in found.found


async def test_a_path_mount_is_warned_of(settings: Read, tailscaled: FakeTailscaled) -> None:
    tailscaled.serve(HERE, funnel=True, mount="/mcp")
    found = of(URL, await look(settings(), tailscaled))
    assert found.verdict == "warning"
    assert "--set-path" in found.found
    assert "/.well-known" in found.found
    assert found.fix.startswith(f"tailscale serve reset && {COMMAND}")


async def test_a_mount_that_hides_our_addresses_is_warned_of(settings: Read, tailscaled: FakeTailscaled) -> None:
    tailscaled.serve(HERE, funnel=True)
    assert tailscaled.serve_config is not None
    handlers = tailscaled.serve_config["Web"][f"{HOST}:443"]["Handlers"]
    handlers |= {"/photos": {"Proxy": "http://127.0.0.1:1"}, "/.well-known": {"Path": "/var/www"}}
    found = of(URL, await look(settings(), tailscaled))
    assert found.verdict == "warning"
    assert "/.well-known" in found.found
    assert "/photos" not in found.found
    handlers["/.well-known"] = {"Proxy": f"{HERE}/.well-known"}
    assert of(URL, await look(settings(), tailscaled)).verdict == "fine"


async def test_another_port_than_443_is_no_use(settings: Read, tailscaled: FakeTailscaled) -> None:
    tailscaled.serve(HERE, funnel=True, port=8443)
    found = of(URL, await look(settings(), tailscaled))
    assert found.verdict == "problem"
    assert f"{HOST}:8443" in found.found
    assert "Claude connect to port 443 only" in found.found
    assert found.fix == COMMAND


async def test_a_port_that_is_passed_on_as_it_is(settings: Read, tailscaled: FakeTailscaled) -> None:
    tailscaled.serve_config = {"TCP": {"443": {"TCPForward": "127.0.0.1:3210"}}, "AllowFunnel": {f"{HOST}:443": True}}
    found = of(URL, await look(settings(), tailscaled))
    assert (found.verdict, "passed on to 127.0.0.1:3210" in found.found) == ("problem", True)
    assert COMMAND in found.fix


async def test_what_ends_with_its_terminal_is_warned_of(settings: Read, tailscaled: FakeTailscaled) -> None:
    tailscaled.serve(HERE, funnel=True)
    tailscaled.serve_config = {"Foreground": {"session": tailscaled.serve_config}}
    found = await look(settings(), tailscaled)
    assert of(URL, found).verdict == "warning"
    assert of(URL, found).fix == COMMAND
    assert of("Funnel", found).verdict == "fine"


async def test_serve_only_names_who_cannot_connect(settings: Read, tailscaled: FakeTailscaled) -> None:
    tailscaled.serve(HERE)
    found = await look(settings(), tailscaled)
    assert of(URL, found).verdict == "fine"
    funnel = of("Funnel", found)
    assert funnel.verdict == "warning"
    assert "your own devices can connect" in funnel.found
    assert "ChatGPT, Claude" in funnel.found
    assert "VS Code" not in funnel.found
    assert funnel.fix.startswith(COMMAND)
    assert "nodeAttrs" not in funnel.fix


@pytest.mark.parametrize(("on", "verdict"), [(False, "warning"), (True, "problem")])
async def test_a_policy_without_funnel(settings: Read, tailscaled: FakeTailscaled, on: bool, verdict: str) -> None:
    tailscaled.serve(HERE, funnel=on)
    tailscaled.status = {"Self": {"DNSName": f"{HOST}.", "CapMap": {"https": None}}}
    funnel = of("Funnel", await look(settings(), tailscaled))
    assert funnel.verdict == verdict
    assert '"attr": ["funnel"]' in funnel.fix
    assert "https://login.tailscale.com/admin/acls" in funnel.fix


async def test_without_authorization_nothing_may_come_from_the_internet(
    settings: Read, tailscaled: FakeTailscaled
) -> None:
    without = settings(UNIX_SOCKET="/run/mcpauth/mcpauth.sock", ENABLED="false")
    assert of(URL, await look(without, tailscaled)).fix == "tailscale serve --bg unix:/run/mcpauth/mcpauth.sock"
    tailscaled.serve("unix:/run/mcpauth/mcpauth.sock", funnel=True)
    funnel = of("Funnel", await look(without, tailscaled))
    assert funnel.verdict == "problem"
    assert funnel.fix.startswith("tailscale funnel reset && tailscale serve --bg unix:/run/mcpauth/mcpauth.sock")
    assert "MCP_OAUTH_ENABLED=true" in funnel.fix
    tailscaled.serve("unix:/run/mcpauth/mcpauth.sock")
    assert verdicts(await look(without, tailscaled)) == {"fine"}


async def test_no_certificates(settings: Read, tailscaled: FakeTailscaled) -> None:
    tailscaled.serve(HERE, funnel=True)
    tailscaled.status = {"CertDomains": None}
    found = of("HTTPS", await look(settings(), tailscaled))
    assert found.verdict == "problem"
    assert "https://login.tailscale.com/admin/dns" in found.fix


@pytest.mark.parametrize(
    ("state", "fix"),
    [
        ("Stopped", "tailscale up"),
        ("NeedsLogin", "tailscale up"),
        ("NeedsMachineAuth", "approve"),
        ("Starting", "wait"),
    ],
)
async def test_it_does_not_run(settings: Read, tailscaled: FakeTailscaled, state: str, fix: str) -> None:
    tailscaled.state = state
    (found,) = await look(settings(), tailscaled)
    assert found.verdict == "problem"
    assert found.fix.startswith(fix)


async def test_the_machine_has_another_name(settings: Read, tailscaled: FakeTailscaled) -> None:
    tailscaled.serve(HERE, funnel=True)
    (found,) = await look(settings(PUBLIC_URL=f"https://old.{SUFFIX}"), tailscaled)
    assert found.verdict == "problem"
    assert f"this machine is {HOST}" in found.found
    assert f"MCP_OAUTH_PUBLIC_URL=https://{HOST}" in found.fix
    assert "tailscale set --hostname=old" in found.fix
    (found,) = await look(settings(PUBLIC_URL="https://host.other.ts.net"), tailscaled)
    assert "--hostname" not in found.fix


async def test_without_a_name(settings: Read, tailscaled: FakeTailscaled) -> None:
    tailscaled.status = {"Self": {"DNSName": ""}}
    (found,) = await look(settings(), tailscaled)
    assert "MagicDNS" in found.fix


async def test_nothing_answers(settings: Read, tailscaled: FakeTailscaled) -> None:
    tailscaled.forbids = True
    (found,) = await look(settings(), tailscaled)
    assert (found.verdict, "--operator" in found.fix) == ("warning", True)
    await tailscaled.stop()
    (found,) = await look(settings(), tailscaled)
    assert (found.verdict, "systemctl start tailscaled" in found.fix) == ("problem", True)


@pytest.mark.parametrize("url", ["http://localhost:3210", "https://mcp.example.com"])
async def test_who_does_not_need_tailscale_is_told_so(settings: Read, tailscaled: FakeTailscaled, url: str) -> None:
    (found,) = await look(settings(PUBLIC_URL=url), tailscaled)
    assert (found.verdict, found.found) == ("fine", f"not needed for {url}")
    await tailscaled.stop()
    (found,) = await look(settings(PUBLIC_URL=url), tailscaled)
    assert (found.verdict, found.found) == ("fine", f"not needed for {url}")


async def test_a_funnel_to_a_server_that_does_not_know_its_name(settings: Read, tailscaled: FakeTailscaled) -> None:
    tailscaled.serve(HERE, funnel=True)
    (found,) = await look(settings(PUBLIC_URL="http://localhost:3210"), tailscaled)
    assert found.verdict == "problem"
    assert f"MCP_OAUTH_PUBLIC_URL={URL}" in found.fix
    tailscaled.serve("http://127.0.0.1:3000", funnel=True)
    (found,) = await look(settings(PUBLIC_URL="http://localhost:3210"), tailscaled)
    assert found.verdict == "fine"
