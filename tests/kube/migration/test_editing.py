from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from quotehelper.errors import DecodeError
from quotehelper.kube.migration.editing import Editor, elements, find, pairs, parse_documents, scalar

STYLES = st.sampled_from([True, False])


def member(text: str, name: str) -> tuple[Editor, yaml.MappingNode, tuple[yaml.ScalarNode, yaml.Node]]:
    """An editor of a text that is one mapping, and the member of that name."""
    (root,) = parse_documents(text)
    assert isinstance(root, yaml.MappingNode)
    return Editor(text), root, next(pair for pair in pairs(root) if pair[0].value == name)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("a: 1\nb: 2 # two\nc: 3\n", "a: 1\nb: 9 # two\nc: 3\n"),
        ("b: '2'", "b: '9'"),
        ('b: "2"', 'b: "9"'),
        ("{a: 1, b: 2}", '{a: 1, b: "9"}'),
        ("b:\n", "b: 9\n"),
        ("b: &x 2\nc: *x\n", "b: &x 9\nc: *x\n"),
        ("b: !!str 2\n", "b: !!str 9\n"),
        ("b:   2   \n", "b:   9   \n"),
    ],
)
def test_a_scalar_is_replaced_in_its_style(text: str, result: str) -> None:
    editor, _, pair = member(text, "b")
    editor.replace(pair[1], "9")
    assert editor.result() == result


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("a: 1\nb: 2 # two\nc: 3\n", "a: 1\nb: 2 # two\nnew: x\nc: 3\n"),
        ("b: 2", "b: 2\nnew: x"),
        ("b:\n  - 1\n  # last\n\nc: 3\n", "b:\n  - 1\nnew: x\n  # last\n\nc: 3\n"),
        ("b: |\n  text\n\nc: 3\n", "b: |\n  text\nnew: x\n\nc: 3\n"),
        ("b: [1, 2]\n", "b: [1, 2]\nnew: x\n"),
        ("{b: 2, c: 3}", '{b: 2, "new": "x", c: 3}'),
        ('{\n  "b": 2\n}', '{\n  "b": 2,\n  "new": "x"\n}'),
    ],
)
def test_a_member_is_added_behind_another(text: str, result: str) -> None:
    editor, root, pair = member(text, "b")
    editor.add_behind(root, pair, "new", "x")
    assert editor.result() == result


@pytest.mark.parametrize(
    ("text", "names", "result"),
    [
        ("a: 1\nb: 2 # two\nc: 3\n", "b", "a: 1\nc: 3\n"),
        ("a: 1\nb: 2", "b", "a: 1"),
        ("a: 1\nb:\n  x: 1\n  y: [2]\nc: 3\n", "b", "a: 1\nc: 3\n"),
        ("a: 1\nb: 2\nc: 3\n", "ab", "c: 3\n"),
        ("a: 1\nb: 2\nc: 3\n", "bc", "a: 1\n"),
        ("b: 2\n", "b", "{}\n"),
        ("{a: 1, b: 2, c: 3}", "b", "{a: 1, c: 3}"),
        ("{a: 1, b: 2, c: 3}", "bc", "{a: 1}"),
        ("{a: 1, b: 2, c: 3}", "ab", "{c: 3}"),
        ("{a: 1, b: 2, c: 3}", "ac", "{b: 2}"),
        ("{a: 1, b: 2}", "ab", "{}"),
    ],
)
def test_members_are_taken_out(text: str, names: str, result: str) -> None:
    editor, root, _ = member(text, names[0])
    for name in names:
        assert editor.remove(root, next(pair for pair in pairs(root) if pair[0].value == name))
    assert editor.result() == result


def test_the_first_member_behind_a_dash_is_taken_out() -> None:
    text = "- b: 2\n  c: 3\n- d\n"
    (root,) = parse_documents(text)
    editor, item = Editor(text), elements(root)[0]
    assert isinstance(item, yaml.MappingNode)
    editor.remove(item, next(pairs(item)))
    assert editor.result() == "- c: 3\n- d\n"


def test_what_came_by_a_merge_is_found_and_stays() -> None:
    text = "x: &x {b: 2}\ny:\n  <<: *x\n  c: 3\n"
    (root,) = parse_documents(text)
    editor, merged = Editor(text), find(root, "y")
    assert scalar(find(merged, "b")) == "2"
    assert isinstance(merged, yaml.MappingNode)
    assert not editor.remove(merged, next(pair for pair in pairs(merged) if pair[0].value == "b"))
    assert editor.result() == text


def test_edits_in_each_others_way_are_an_error_and_no_broken_text() -> None:
    editor, root, pair = member("b: 2\n", "b")
    editor.replace(pair[1], "3")
    editor.replace_document(root, "# gone")
    with pytest.raises(DecodeError, match="overlap"):
        editor.result()


@given(
    st.dictionaries(
        st.text(alphabet="abc", min_size=1, max_size=3), st.integers() | st.lists(st.integers()), min_size=1
    ),
    STYLES,
    st.data(),
)
def test_taking_out_any_members_leaves_the_others(
    document: dict[str, object],
    flow: bool,  # noqa: FBT001  hypothesis fills it in
    data: st.DataObject,
) -> None:
    removed = data.draw(st.sets(st.sampled_from(sorted(document))))
    text = yaml.safe_dump(document, default_flow_style=flow, sort_keys=False, width=20)
    (root,) = parse_documents(text)
    assert isinstance(root, yaml.MappingNode)
    editor = Editor(text)
    for pair in pairs(root):
        if pair[0].value in removed:
            editor.remove(root, pair)
    assert yaml.safe_load(editor.result()) == {name: value for name, value in document.items() if name not in removed}
