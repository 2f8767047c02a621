from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quotehelper.kube.admission.patch import Operation, append, pointer, set_member

TOKENS = st.lists(st.text(alphabet="ab/~01", max_size=6) | st.integers(0, 99), max_size=4)


def tokens(path: str) -> list[str]:
    """What a pointer leads through, as RFC 6901 reads it: first ~1, then ~0."""
    return [token.replace("~1", "/").replace("~0", "~") for token in path.split("/")[1:]]


@given(TOKENS)
def test_a_pointer_leads_through_its_tokens(given_tokens: list[str | int]) -> None:
    assert tokens(pointer(*given_tokens)) == [str(token) for token in given_tokens]


def test_a_resources_name_is_one_token() -> None:
    assert pointer("limits", "sgx.intel.com/epc") == "/limits/sgx.intel.com~1epc"


def test_a_member_is_added_replaced_or_brings_its_holder() -> None:
    assert set_member("/a", {}, "b/c", "1") == Operation("add", "/a/b~1c", "1")
    assert set_member("/a", {"b": "0"}, "b", "1") == Operation("replace", "/a/b", "1")
    assert set_member("/a", None, "b", "1") == Operation("add", "/a", {"b": "1"})


def test_an_item_is_appended_or_brings_its_list() -> None:
    assert append("/a", [], "x") == Operation("add", "/a/-", "x")
    assert append("/a", None, "x") == Operation("add", "/a", ["x"])


def test_a_removal_has_no_value() -> None:
    assert Operation("remove", "/a").as_json() == {"op": "remove", "path": "/a"}
    assert Operation("add", "/a", None).as_json() == {"op": "add", "path": "/a", "value": None}
