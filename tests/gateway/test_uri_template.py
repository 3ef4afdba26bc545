import pytest

from mcpauth.gateway.uri_template import claims, matches


@pytest.mark.parametrize(
    ("template", "uri", "fits"),
    [
        ("note://{id}", "note://1", True),
        ("note://{id}", "note://", True),
        ("note://{id}", "notes://1", False),
        ("note://all", "note://all", True),
        ("note://all", "note://all/1", False),
        ("note://{id}/text", "note://1/text", True),
        ("note://{id}/text", "note://1/texts", False),
        ("note://{id}/text", "note:///tex", False),
        ("a:{x}b{y}b", "a:bb", True),
        ("a:{x}b{y}b", "a:b", False),
        ("db://{table}/{row}{?columns*}", "db://t/1?columns=a", True),
        ("file:///{+path}", "file:///a/b", True),
        ("note://{id", "note://1", False),
        ("note://{id}", "note://" + "x" * 10_000, False),
    ],
)
def test_any_text_may_take_an_expressions_place(template, uri, fits):
    assert matches(template, uri) is fits


def test_no_template_takes_long():
    assert not matches("a:" + "{x}a" * 1000 + "b", "a:" + "a" * 8000)


@pytest.mark.parametrize(
    ("template", "does"), [("a+b:{x}", True), ("{scheme}:x", False), ("{+all}", False), (":x", False)]
)
def test_a_template_that_could_be_anybodys_claims_nothing(template, does):
    assert claims(template) is does
