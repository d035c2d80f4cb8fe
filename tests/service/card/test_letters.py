"""Every character is seen, as itself or by its number or name, and lines are no wider than they may be."""

import shutil
from pathlib import Path

import matplotlib as mpl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.font_manager import fontManager

from service.card.drawing import draw
from service.card.letters import FAMILY, Letters, _find_other_fonts, has_right_to_left, starts_right_to_left
from service.card.shapes import Layout, Words

PLAIN = Letters([])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("naïve ✓ 3 × 4", "naïve ✓ 3 × 4"),
        ("\x1b[31m", "[U+001B][31m"),
        ("a\u202eb", "a[U+202E]b"),
        ("a\tb\r\nc", "a    b\nc"),
        ("\ud83d", "[U+D83D]"),
        ("\U0010fffd" * 6, "[U+10FFFD U+10FFFD U+10FFFD U+10FFFD and 2 more]"),
        ("a\u00a0b", "a b"),
        ("\u2764\ufe0f", "\u2764"),
    ],
)
def test_a_character_is_itself_or_its_number(text: str, shown: str) -> None:
    assert PLAIN.show(text) == shown


def test_an_emoji_that_no_font_has_is_named() -> None:
    letters = Letters([])
    assert letters.show("a \U0001f992!") == "a [giraffe face]!"
    assert letters.show("\U0001f469\u200d\U0001f467") == "[woman][girl]"
    assert letters.num_named == 3


def test_another_font_of_the_machine_is_taken_for_what_the_first_does_not_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script_a = "\U0001d49c"
    file = shutil.copy(Path(mpl.get_data_path()) / "fonts" / "ttf" / "STIXGeneral.ttf", tmp_path / "font.ttf")
    own = [font for font in fontManager.ttflist if font.name.startswith(FAMILY)]
    monkeypatch.setattr(fontManager, "ttflist", own)
    _find_other_fonts.cache_clear()
    assert Letters([script_a]).show(script_a) == "[U+1D49C]"
    fontManager.addfont(file)
    _find_other_fonts.cache_clear()
    try:
        letters = Letters([script_a])
        assert letters.show(f"a {script_a}") == f"a {script_a}"
        assert letters.num_named == 0
        assert letters.families == [FAMILY, "STIXGeneral"]
        assert letters.measure(script_a, 15) > 5
        words = Words(x=10, y=20, text=script_a, size=15)
        drawn = draw(Layout(width=50, height=30, families=tuple(letters.families), shapes=[words]), "png")
        assert drawn.startswith(b"\x89PNG")
    finally:
        _find_other_fonts.cache_clear()


def test_nothing_is_counted_as_named_where_all_is_seen() -> None:
    letters = Letters(["seen"])
    letters.show("seen")
    assert letters.num_named == 0
    assert letters.families == [FAMILY]


def test_lines_end_between_words_and_say_where() -> None:
    text = "one two three"
    lines, is_cut = PLAIN.wrap(text, PLAIN.measure("one two ", 15), 15, 9)
    assert [text[start:end] for start, end in lines] == ["one two", "three"]
    assert not is_cut


def test_lines_over_the_number_are_left_over() -> None:
    assert PLAIN.wrap("a\nb\nc", 100, 15, 2) == ([(0, 1), (2, 3)], True)
    assert PLAIN.wrap("a\nb", 100, 15, 2) == ([(0, 1), (2, 3)], False)


@given(st.text(max_size=80), st.integers(min_value=60, max_value=300))
def test_no_line_is_wider_than_it_may_be(text: str, width: int) -> None:
    shown = PLAIN.show(text)
    lines, is_cut = PLAIN.wrap(shown, width, 15, 200)
    assert not is_cut
    assert all(PLAIN.measure(shown[start:end], 15) <= width + 3 for start, end in lines)
    assert "".join("".join(shown[start:end].split()) for start, end in lines) == "".join(shown.split())


def test_a_shortened_line_keeps_whole_words_and_fits() -> None:
    line = PLAIN.shorten("several words of a line", 150, 15, " …")
    assert line == "several words of …"
    assert PLAIN.measure(line, 15) <= 150


def test_the_direction_of_a_line_is_that_of_its_first_letter() -> None:
    assert starts_right_to_left("1. שלום world")
    assert not starts_right_to_left("hello שלום")
    assert has_right_to_left("hello שלום")
    assert not has_right_to_left("hello 1")
