import msgspec

from mcpauth.gateway.listing import RESOURCES, TEMPLATES, Listing
from mcpauth.gateway.offer import Offer
from mcpauth.gateway.uri_owners import UriOwners


def offer(*uris, templates=()):
    raw = msgspec.Raw(b"{}")
    return Offer({}, Listing({}, {RESOURCES: dict.fromkeys(uris, raw), TEMPLATES: dict.fromkeys(templates, raw)}), None)


def owners(**offers):
    made = UriOwners()
    made.update(offers)
    return made


def test_of_two_that_list_it_the_first_in_order_has_it():
    assert owners(a=offer("x:1"), b=offer("x:1", "x:2")).of("x:1") == "a"
    assert owners(b=offer("x:1"), a=offer("x:1")).of("x:1") == "b"


def test_who_lists_it_later_does_not_get_it_whatever_the_order():
    made = owners(a=offer(), b=offer("x:1"))
    made.update({"a": offer("x:1"), "b": offer("x:1", "x:2")})
    assert made.of("x:1") == "b"
    made.update({"a": offer("x:1"), "b": offer("x:2")})
    assert made.of("x:1") == "a"
    made.update({"a": offer("x:1"), "b": offer("x:1")})
    assert made.of("x:1") == "a"


def test_who_only_took_longer_to_start_gets_what_is_first_in_order():
    made = owners(slow=None, b=offer("x:1", "x:2"))
    assert made.of("x:1") == "b"
    made.update({"slow": offer("x:1"), "b": offer("x:1", "x:2")})
    assert (made.of("x:1"), made.of("x:2")) == ("slow", "b")


def test_a_server_that_is_gone_owns_nothing():
    made = owners(a=offer("x:1"), b=offer("x:1"))
    made.update({"b": offer("x:1")})
    assert made.of("x:1") == "b"
    made.update({})
    assert made.of("x:1") is None


def test_a_list_is_more_than_a_template():
    made = owners(a=offer(templates=["x:{n}"]), b=offer("x:1", templates=["x:{n}", "y:{n}"]))
    assert made.of("x:1") == "b"
    assert made.of("x:2") == "a"
    assert made.of("y:2") == "b"
    assert made.listed(TEMPLATES, "x:{n}") == "a"


def test_a_template_that_comes_later_gets_nothing_of_those_before_it():
    made = owners(a=offer("a:1"), b=offer(templates=["x:{n}"]))
    made.update({"a": offer("a:1", templates=["x:{+all}"]), "b": offer(templates=["x:{n}"])})
    assert made.of("x:1") == "b"
    made.update({"a": offer("a:1", templates=["x:{+all}", "x:{n}"]), "b": offer()})
    assert made.of("x:1") == "a"
    made.update({"a": offer("a:1", templates=["x:{+all}", "x:{n}"]), "b": offer(templates=["x:{n}"])})
    assert made.of("x:1") == "a"


def test_of_two_templates_that_were_there_from_the_beginning_the_first_in_order_counts():
    made = owners(a=None, b=offer(templates=["x:{n}"]))
    made.update({"a": offer(templates=["x:{+all}"]), "b": offer(templates=["x:{n}"])})
    assert made.of("x:1") == "a"


def test_what_was_found_is_not_kept_without_end():
    made = UriOwners()
    for number in range(3000):
        made.find("ann", f"x:{number}", "a")
    assert made.found("ann", "x:0") is None
    assert made.found("ann", "x:2999") == "a"


def test_what_one_user_has_found_is_nothing_for_another():
    made = UriOwners()
    made.find("ann", "x:1", "a")
    assert made.found("ann", "x:1") == "a"
    assert made.found("bob", "x:1") is None
