from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from benchmarks.plot import Lane, Panel, Plot, Series, draw, steps

SVG = "{http://www.w3.org/2000/svg}"
PLOT = Plot(
    "a <title> & more",
    "time, minutes",
    10.0,
    [
        Panel("memory, MiB", [Series("one", [(0, 20.0), (5, 40.0), (10, 40.0)]), Series("two", [(0, 1.0)])]),
        Panel("quotes a second", [Series("interrupted", [(0, 1.0), (1, 1.0), (2, None), (3, 1.0), (4, 1.0)])]),
    ],
    [Lane("kill", [1.0, 9.0]), Lane("failed", [2.0], bad=True)],
)


@pytest.fixture
def drawn() -> ET.Element:
    return ET.fromstring(draw(PLOT))  # noqa: S314  our own document


def texts(drawn: ET.Element) -> list[str]:
    return [text.text or "" for text in drawn.iter(f"{SVG}text")]


def lines(drawn: ET.Element) -> list[list[tuple[float, float]]]:
    points = [line.get("points", "").split() for line in drawn.iter(f"{SVG}polyline")]
    return [[(float(x), float(y)) for x, y in (point.split(",") for point in each)] for each in points]


def test_axes_lines_and_lanes_are_named(drawn: ET.Element) -> None:
    named = texts(drawn)
    for name in ("a <title> & more", "time, minutes", "memory, MiB", "one", "two", "kill (2)", "failed (1)"):
        assert name in named


def test_a_higher_value_stands_higher_and_a_later_one_further_right(drawn: ET.Element) -> None:
    (first, second, third) = lines(drawn)[1]
    assert first[1] > second[1] == third[1]
    assert first[0] < second[0] < third[0]
    assert second[0] - first[0] == pytest.approx(third[0] - second[0], abs=0.2)


def test_a_line_is_interrupted_where_there_is_no_value(drawn: ET.Element) -> None:
    assert [len(line) for line in lines(drawn)] == [1, 3, 2, 2]


def test_all_is_within_the_picture(drawn: ET.Element) -> None:
    _, _, width, height = map(float, drawn.get("viewBox", "").split())
    for line in lines(drawn):
        assert all(0 <= x <= width and 0 <= y <= height for x, y in line)
    marks = [line for line in drawn.iter(f"{SVG}line") if line.get("class") in {"mark", "bad"}]
    assert len(marks) == 3
    assert all(0 <= float(mark.get("x1", "-1")) <= width for mark in marks)


def test_it_is_readable_on_dark_pages_and_asks_for_nothing_from_outside() -> None:
    text = draw(PLOT)
    assert "prefers-color-scheme: dark" in text
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "url(" not in text


@pytest.mark.parametrize(
    ("highest", "expected"),
    [
        (0, [0, 1]),
        (1, [0, 0.25, 0.5, 0.75, 1]),
        (73, [0, 20, 40, 60, 80]),
        (900, [0, 250, 500, 750, 1000]),
        (0.35, [0, 0.1, 0.2, 0.3, 0.4]),
    ],
)
def test_an_axis_has_round_numbers_up_to_the_highest(highest: float, expected: list[float]) -> None:
    assert steps(highest) == pytest.approx(expected)


@pytest.mark.parametrize("exponent", range(-3, 7))
@pytest.mark.parametrize("mantissa", [1, 1.01, 1.9, 2.4, 3.3, 4.9, 7.7, 9.99])
def test_no_axis_is_too_short_or_crowded(mantissa: float, exponent: int) -> None:
    ticks = steps(mantissa * 10.0**exponent)
    assert ticks[-1] >= mantissa * 10.0**exponent * (1 - 1e-6)
    assert len(ticks) <= 5
