"""The headers of mcp.json, before they are sent anywhere."""

import pytest

from mcpauth.errors import SettingsError
from mcpauth.gateway import build, configuration
from mcpauth.gateway.http_headers import expand

ENVIRON = {
    "TOKEN": "s3cret",
    "EMPTY": "",
    "LINES": "s3cret\nX-Other: 1",
    "END": "s3cret\n",
    "MCP_OAUTH_JWT_SECRET": "x",
}


@pytest.mark.parametrize(
    ("value", "expanded"),
    [
        ("Bearer ${TOKEN}", "Bearer s3cret"),
        ("${TOKEN}${env:TOKEN}", "s3crets3cret"),
        ("${EMPTY}", ""),
        ("${END}", "s3cret"),
        ("$TOKEN {TOKEN} $", "$TOKEN {TOKEN} $"),
        ("a\tb é", "a\tb é"),
    ],
)
def test_variables_are_expanded(value, expanded):
    assert expand({"X-Key": value}, ENVIRON) == {"X-Key": expanded}


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("X-Key", "s3cret ${MISSING}", "MISSING is not set"),
        ("X-Key", "${env:MISSING}", "MISSING is not set"),
        ("X-Key", "${TOKEN:-s3cret}", "must hold the name of an environment variable"),
        ("X-Key", "${}", "must hold the name of an environment variable"),
        ("X-Key", "${MCP_OAUTH_JWT_SECRET}", "MCP_OAUTH_JWT_SECRET is a setting of mcpauth's"),
        ("X-Key", "${OAUTH_GITHUB_CLIENT_SECRET}", "OAUTH_GITHUB_CLIENT_SECRET is a setting of mcpauth's"),
        ("X-Key", "${LINES}", "line break"),
        ("X-Key", "s3cret\r\nX-Other: 1", "line break"),
        ("X-Key", "s3cret\0", "control character"),
        ("X-Key", "s3cret\udcff", "is no UTF-8"),
        ("X-Key\n", "s3cret", "is no name of a header"),
        ("X Key", "s3cret", "is no name of a header"),
        ("", "s3cret", "is no name of a header"),
        ("Content-Length", "s3cret", "sets this header itself"),
        ("transfer-encoding", "s3cret", "sets this header itself"),
    ],
)
def test_a_mistake_is_named_and_no_value_is(name, value, named):
    with pytest.raises(SettingsError) as refused:
        expand({name: value}, ENVIRON)
    assert named in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_a_missing_variable_stops_the_start_and_its_line_is_named(tmp_path, database, ambient):
    path = tmp_path / "mcp.json"
    path.write_text(
        '{"mcpServers": {"Far Away": {"url": "https://example.com/mcp", "headers": {\n"Authorization": "${TOKEN}"}}}}'
    )
    path.chmod(0o600)
    given = configuration.read(path)
    with pytest.raises(SettingsError) as refused:
        build.build(given, data_dir=tmp_path, database=database, ambient=ambient, environ={})
    assert str(refused.value) == (
        "mcp.json, line 2: mcpServers.Far Away.headers.Authorization: "
        "TOKEN is not set in the environment that mcpauth was started with: "
        "put TOKEN=... into .env, and start mcpauth again"
    )
    build.build(given, data_dir=tmp_path, database=database, ambient=ambient, environ={"TOKEN": "s3cret"})
