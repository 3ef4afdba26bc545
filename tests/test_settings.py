"""Settings: the table of the manual, sentence by sentence."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from mcpauth.errors import SettingsError
from mcpauth.settings import NOT_BUILT_YET, Settings, read_environment

SEED = {
    "MCP_OAUTH_ENABLED": "true",
    "MCP_OAUTH_GITHUB_CLIENT_ID": "Iv1.0123456789abcdef",
    "MCP_OAUTH_GITHUB_CLIENT_SECRET": "0123456789012345678901234567890123456789",
    "MCP_OAUTH_REDIRECT_URI": "https://host.tailnet.ts.net/github/oauth/callback",
    "MCP_OAUTH_JWT_SECRET": "a-secret-of-more-than-thirty-two-bytes",
}

GITHUB = {name: value for name, value in SEED.items() if "GITHUB" in name}


def read(**environ: str) -> Settings:
    """Settings from these variables, written without their prefix."""
    return Settings.from_env({f"MCP_OAUTH_{name}": value for name, value in environ.items()})


def refusal(environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(environ)
    return str(caught.value)


def test_what_is_neither_is_refused_in_words_of_ours() -> None:
    assert refusal({"MCP_OAUTH_LEGACY_SSE": "maybe"}) == "MCP_OAUTH_LEGACY_SSE: must be true or false"
    assert refusal({"MCP_OAUTH_PORT": "abc"}) == "MCP_OAUTH_PORT: must be a whole number"


def test_without_any_variable_there_are_the_defaults_of_the_manual() -> None:
    settings = Settings.from_env({})
    assert settings.model_dump() == {
        "enabled": True,
        "public_url": "",
        "host": "127.0.0.1",
        "port": 3210,
        "unix_socket": None,
        "data_dir": Path("data"),
        "base_path": "/auth/oauth",
        "redirect_uri": "",
        "github_client_id": "",
        "github_client_secret": SecretStr(""),
        "github_url": "https://github.com",
        "github_api_url": "https://api.github.com",
        "trusted_providers": (),
        "auto_create_users": True,
        "allowed_users": (),
        "jwt_secret": SecretStr(""),
        "jwt_algorithm": "HS256",
        "access_token_expiry": 3600,
        "refresh_token_expiry": 2592000,
        "code_expiry": 300,
        "state_timeout": 600,
        "session_timeout": 86400,
        "max_sessions_per_user": 5,
        "secure_cookies": None,
        "same_site_policy": "lax",
        "trusted_proxies": ("127.0.0.0/8", "::1"),
        "tailscale_socket": None,
        "cimd_loopback": False,
        "allowed_origins": (),
        "registration": "open",
        "legacy_sse": False,
        "log_format": None,
        "log_level": "info",
    }
    assert settings.origin == "http://localhost:3210"
    assert settings.callback_uri == "http://localhost:3210/auth/oauth/callback"
    assert not settings.cookies_are_secure


def test_the_seeds_five_variables_alone_are_enough() -> None:
    settings = Settings.from_env(SEED)
    assert settings.origin == "https://host.tailnet.ts.net"
    assert settings.summary(["github"], ["github"]) == {
        "providers": {
            "available": ["github"],
            "trusted": ["github"],
            "redirectUri": "https://host.tailnet.ts.net/github/oauth/callback",
        },
        "tokens": {"accessTokenExpiry": 3600, "refreshTokenExpiry": 2592000, "algorithm": "HS256"},
        "sessions": {"timeout": 86400, "maxPerUser": 5, "autoCreateUsers": True},
        "http": {"basePath": "/auth/oauth", "secureCookies": True, "sameSitePolicy": "lax"},
    }
    assert settings.callback_paths == ("/auth/oauth/callback", "/github/oauth/callback")
    older = {name.removeprefix("MCP_"): value for name, value in SEED.items()}
    assert Settings.from_env(older) == settings


@pytest.mark.parametrize(
    ("environ", "port"),
    [
        ({"OAUTH_PORT": "1"}, 1),
        ({"MCP_OAUTH_PORT": "2"}, 2),
        ({"OAUTH_PORT": "1", "MCP_OAUTH_PORT": "2"}, 2),
        ({"OAUTH_PORT": "1", "MCP_OAUTH_PORT": ""}, 1),
    ],
)
def test_the_first_prefix_that_is_set_wins(environ: dict[str, str], port: int) -> None:
    assert Settings.from_env(environ).port == port


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MCP_OAUTH_GITHUB_CLIENTID", "MCP_OAUTH_GITHUB_CLIENT_ID"),
        ("MCP_OAUTH_PUBLIC_URI", "MCP_OAUTH_PUBLIC_URL"),
        ("MCP_OAUTH_SESION_TIMEOUT", "MCP_OAUTH_SESSION_TIMEOUT"),
        ("MCP_OAUTH_Port", "MCP_OAUTH_PORT"),
    ],
)
def test_an_unknown_name_stops_the_start_with_the_closest_one(name: str, meant: str) -> None:
    assert refusal({name: "sesame"}) == f"unknown setting: {name}; did you mean {meant}?"
    assert refusal({"MCP_OAUTH_XYZZY": "sesame"}) == "unknown setting: MCP_OAUTH_XYZZY"


def test_other_programs_may_use_the_older_prefix() -> None:
    assert Settings.from_env({"OAUTH_TOKEN_OF_ANOTHER_PROGRAM": "x"}) == Settings.from_env({})


@pytest.mark.parametrize("name", sorted(NOT_BUILT_YET))
def test_what_is_not_built_yet_is_refused_as_such(name: str) -> None:
    for prefix in ("MCP_OAUTH_", "OAUTH_"):
        assert refusal({prefix + name: "sesame"}) == f"{prefix}{name} is not built yet: remove it"


def test_the_table_of_the_manual_is_complete() -> None:
    table = """ENABLED PUBLIC_URL HOST PORT UNIX_SOCKET DATA_DIR BASE_PATH REDIRECT_URI GITHUB_CLIENT_ID
        GITHUB_CLIENT_SECRET GITHUB_URL GITHUB_API_URL GITHUB_ALLOWED_ORGS TRUSTED_PROVIDERS AUTO_CREATE_USERS
        ALLOWED_USERS JWT_SECRET JWT_ALGORITHM ACCESS_TOKEN_EXPIRY REFRESH_TOKEN_EXPIRY CODE_EXPIRY STATE_TIMEOUT
        SESSION_TIMEOUT MAX_SESSIONS_PER_USER SECURE_COOKIES SAME_SITE_POLICY TRUSTED_PROXIES ALLOWED_ORIGINS
        CIMD_LOOPBACK METRICS_PORT LEGACY_SSE REGISTRATION GOOGLE_CLIENT_ID GOOGLE_CLIENT_SECRET OIDC_ISSUER
        OIDC_CLIENT_ID OIDC_CLIENT_SECRET LOG_FORMAT LOG_LEVEL TAILSCALE_SOCKET"""
    assert {name.upper() for name in Settings.model_fields} | NOT_BUILT_YET == set(table.split())


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_in_the_readme_and_explained(name: str) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    assert f"MCP_OAUTH_{name.upper()}" in readme
    assert Settings.model_fields[name].description


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENABLED", "sesame"),
        ("PUBLIC_URL", "https://host.example/sesame"),
        ("PUBLIC_URL", "https://sesame@host.example"),
        ("PUBLIC_URL", "sesame.example"),
        ("PUBLIC_URL", "https://host.example:sesame"),
        ("PORT", "sesame"),
        ("BASE_PATH", "/mcp/sesame"),
        ("BASE_PATH", "/a?sesame"),
        ("REDIRECT_URI", "https://host.example/callback?sesame"),
        ("GITHUB_URL", "ftp://sesame"),
        ("GITHUB_API_URL", "sesame"),
        ("GITHUB_API_URL", "https://api.example/?sesame"),
        ("TRUSTED_PROVIDERS", "sesame"),
        ("AUTO_CREATE_USERS", "sesame"),
        ("JWT_SECRET", "sesame"),
        ("JWT_ALGORITHM", "sesame"),
        ("ACCESS_TOKEN_EXPIRY", "sesame"),
        ("CODE_EXPIRY", "sesame"),
        ("SECURE_COOKIES", "sesame"),
        ("SAME_SITE_POLICY", "sesame"),
        ("LOG_FORMAT", "sesame"),
        ("LOG_LEVEL", "sesame"),
    ],
)
def test_a_refusal_names_the_variable_and_never_the_value(name: str, value: str) -> None:
    for prefix in ("MCP_OAUTH_", "OAUTH_"):
        said = refusal({prefix + name: value})
        assert said.startswith(f"{prefix}{name}: ")
        assert "sesame" not in said


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "nan"])
@pytest.mark.parametrize("name", ["ACCESS_TOKEN_EXPIRY", "SESSION_TIMEOUT", "MAX_SESSIONS_PER_USER"])
def test_times_and_counts_are_whole_and_positive(name: str, value: str) -> None:
    assert refusal({f"MCP_OAUTH_{name}": value}).startswith(f"MCP_OAUTH_{name}: ")


def test_the_same_site_policies_that_cannot_work_are_refused_with_the_reason() -> None:
    for policy in ("strict", "none"):
        said = refusal({"MCP_OAUTH_SAME_SITE_POLICY": policy})
        assert "would loop" in said
        assert "other sites" in said
    assert read(SAME_SITE_POLICY="lax").same_site_policy == "lax"


def test_authorization_is_switched_off_on_a_unix_socket_only() -> None:
    assert "MCP_OAUTH_UNIX_SOCKET" in refusal({"MCP_OAUTH_ENABLED": "false"})
    assert "MCP_OAUTH_UNIX_SOCKET" in refusal({"MCP_OAUTH_ENABLED": "false", "MCP_OAUTH_HOST": "127.0.0.1"})
    settings = read(ENABLED="false", UNIX_SOCKET="/run/mcpauth.sock")
    assert (settings.enabled, settings.unix_socket) == (False, Path("/run/mcpauth.sock"))


def test_documents_come_from_this_computer_only_while_nobody_else_is_served() -> None:
    said = refusal({"MCP_OAUTH_PUBLIC_URL": "https://host.example.ts.net", "MCP_OAUTH_CIMD_LOOPBACK": "true"})
    assert said.startswith("MCP_OAUTH_CIMD_LOOPBACK: ")
    assert read(CIMD_LOOPBACK="true").cimd_loopback
    assert read(CIMD_LOOPBACK="true", PUBLIC_URL="http://127.0.0.1:9").cimd_loopback


def test_a_signing_secret_has_32_bytes() -> None:
    assert "at least 32 bytes" in refusal({"MCP_OAUTH_JWT_SECRET": "x" * 31})
    assert read(JWT_SECRET="x" * 32).jwt_secret.get_secret_value() == "x" * 32
    assert read(JWT_SECRET="ü" * 16)
    said = refusal({"MCP_OAUTH_JWT_SECRET": "x" * 32, "MCP_OAUTH_JWT_ALGORITHM": "ES256"})
    assert "HS256 only" in said


def test_secrets_do_not_show_when_settings_are_printed() -> None:
    shown = f"{Settings.from_env(SEED)!r} {Settings.from_env(SEED)}"
    assert SEED["MCP_OAUTH_JWT_SECRET"] not in shown
    assert SEED["MCP_OAUTH_GITHUB_CLIENT_SECRET"] not in shown


@pytest.mark.parametrize("url", ["http://host.example", "http://192.168.1.5:3210", "http://localhost.example"])
def test_plain_http_is_for_loopback_only(url: str) -> None:
    assert "must be https" in refusal({"MCP_OAUTH_PUBLIC_URL": url})
    assert "must be https" in refusal({"MCP_OAUTH_REDIRECT_URI": f"{url}/callback"})
    for name in ("GITHUB_URL", "GITHUB_API_URL"):
        assert "must be https" in refusal({**GITHUB, f"MCP_OAUTH_{name}": url})


@pytest.mark.parametrize("url", ["http://localhost:8080", "http://127.0.0.1:1", "http://[::1]:1", "https://a.example"])
def test_what_an_origin_may_be(url: str) -> None:
    assert read(PUBLIC_URL=url).origin == url
    assert read(PUBLIC_URL=f"{url}/").origin == url
    assert read(GITHUB_URL=url, GITHUB_API_URL=f"{url}/api/v3/").github_api_url == f"{url}/api/v3"


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ({"PUBLIC_URL": "HTTPS://Host.Example:443"}, "https://host.example"),
        ({"REDIRECT_URI": "https://host.example:8443/cb"}, "https://host.example:8443"),
        ({"PORT": "80"}, "http://localhost"),
        ({"PORT": "4000"}, "http://localhost:4000"),
    ],
)
def test_where_the_public_origin_comes_from(given: dict[str, str], origin: str) -> None:
    assert read(**given).origin == origin


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"PUBLIC_URL": "https://a.example", "REDIRECT_URI": "https://b.example/cb"}, "REDIRECT_URI: must be at the"),
        ({"REDIRECT_URI": "https://a.example/mcp"}, "REDIRECT_URI: its path"),
        ({"REDIRECT_URI": "https://a.example/token"}, "REDIRECT_URI: its path"),
        ({"PUBLIC_URL": "https://a.example", "SECURE_COOKIES": "false"}, "SECURE_COOKIES: cookies must be secure"),
        ({"SECURE_COOKIES": "true"}, "SECURE_COOKIES: secure cookies need"),
        ({"GITHUB_CLIENT_ID": "x"}, "GITHUB_CLIENT_SECRET: is missing"),
        ({"GITHUB_CLIENT_SECRET": "x"}, "GITHUB_CLIENT_ID: is missing"),
        ({"TRUSTED_PROVIDERS": "github"}, "TRUSTED_PROVIDERS: github is not enabled"),
        ({"TRUSTED_PROVIDERS": "tailscale"}, "TRUSTED_PROVIDERS: tailscale needs MCP_OAUTH_UNIX_SOCKET"),
        ({"PORT": "0"}, "PORT: 0 needs"),
    ],
)
def test_what_does_not_go_together_is_refused(given: dict[str, str], said: str) -> None:
    assert refusal({f"MCP_OAUTH_{name}": value for name, value in given.items()}).startswith(f"MCP_OAUTH_{said}")


def test_lists_are_separated_by_commas() -> None:
    settings = read(ALLOWED_USERS=" github:octocat , github:team-* ,", ALLOWED_ORIGINS="https://a.example")
    assert settings.allowed_users == ("github:octocat", "github:team-*")
    assert settings.allowed_origins == ("https://a.example",)


def test_a_dotenv_file_counts_and_the_process_environment_wins(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MCP_OAUTH_PORT=4711\nPATH=/nowhere\nMCP_OAUTH_JWT_SECRET='a$b'\n")
    environ: dict[str, Any] = read_environment(tmp_path)
    assert environ["MCP_OAUTH_PORT"] == "4711"
    assert environ["PATH"] != "/nowhere"
    assert environ["MCP_OAUTH_JWT_SECRET"] == "a$b"
    assert "MCP_OAUTH_PORT" not in read_environment(tmp_path / "elsewhere")


def test_a_line_of_the_dotenv_file_without_a_value_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MCP_OAUTH_PORT\n")
    with pytest.raises(SettingsError, match="MCP_OAUTH_PORT has no value"):
        read_environment(tmp_path)
