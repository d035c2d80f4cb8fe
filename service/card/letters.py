"""Letters: which texts can be shown with the fonts at hand, how wide they are, and where lines break.

A character that would steer a text instead of being seen (control characters, overrides of the direction), or that no
font has, becomes its number in brackets, an emoji its name: a picture must not hide what a model was shown. Other fonts
of the machine are looked at only for what the first does not have.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

FAMILY = "DejaVu Sans"
"""It comes with matplotlib."""
_JOINERS = "\u200c\u200d"
_SELECTORS = re.compile("[\ufe00-\ufe0f]")
_MAX_NUMBERS = 4
"""So many numbers of characters in a row are written out."""
_MAX_BROKEN_WORD = 20
_RIGHT_TO_LEFT = {"R", "AL"}


class Letters:
    """Shows and measures texts in one choice of fonts. texts: all that will be shown."""

    def __init__(self, texts: Iterable[str]) -> None:
        from matplotlib import font_manager

        self._known = set(_read_letters(font_manager.findfont(FAMILY)))
        wanted = {ord(letter) for text in texts for letter in text if _is_seen(letter)}
        self.families = [FAMILY]
        for family, letters in _find_other_fonts(frozenset(wanted - self._known)):
            self.families.append(family)
            self._known |= letters
        self.num_named = 0
        """Characters so far that stand as number or name."""
        self._measured: dict[tuple[str, float, bool], float] = {}

    def show(self, text: str) -> str:
        """A text of which every character is seen. Line breaks stay."""
        parts: list[str] = []
        numbers: list[str] = []
        for letter in _SELECTORS.sub("", text.replace("\r\n", "\n")):
            if letter in _JOINERS and not (parts and not numbers and parts[-1][-1:].isalpha()):
                continue  # between emoji it only says that they are one
            shown = self._show_letter(letter)
            if shown is None:
                numbers.append(f"U+{ord(letter):04X}")
                continue
            parts += [_write_numbers(numbers), shown]
            self.num_named += len(numbers)
            numbers = []
        self.num_named += len(numbers)
        return "".join([*parts, _write_numbers(numbers)])

    def show_line(self, text: str) -> str:
        """A text as one line."""
        return self.show(text).replace("\n", " ")

    def _show_letter(self, letter: str) -> str | None:
        """None: only its number can be shown."""
        if letter == "\n":
            return letter
        if letter == "\t":
            return "    "
        if unicodedata.category(letter) == "Zs":
            return " "
        if letter in _JOINERS or (_is_seen(letter) and ord(letter) in self._known):
            return letter
        if unicodedata.category(letter) in {"So", "Sk"} and (name := unicodedata.name(letter, "")):
            self.num_named += 1
            return f"[{name.lower()}]"
        return None

    def measure(self, text: str, size: float, *, bold: bool = False) -> float:
        """The width of a shown text, in hundredths of an inch; so is `size`. bold: for our own words alone, since other
        fonts are not looked into.
        """
        from matplotlib.font_manager import FontProperties
        from matplotlib.textpath import text_to_path

        key = (text, size, bold)
        if key not in self._measured:
            families, weight = (FAMILY, "bold") if bold else (self.families, "normal")
            font = FontProperties(family=families, weight=weight, size=size)
            self._measured[key] = text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]
        return self._measured[key]

    def wrap(self, text: str, width: float, size: float, max_lines: int) -> tuple[list[tuple[int, int]], bool]:
        """Where the lines of a shown text begin and end, at most `max_lines`; and whether something is left over."""
        space = self.measure(" ", size)
        lines: list[tuple[int, int]] = []
        start = end = 0
        filled = 0.0
        for token in re.finditer(r"\n|[^\S\n]+|\S+", text):
            if len(lines) >= max_lines:
                return lines, True
            if token[0] == "\n":
                lines.append((start, end))
                start = end = token.end()
                filled = 0.0
                continue
            if token[0].isspace():
                filled += space * len(token[0])
                continue
            taken = self.measure(token[0], size)
            if filled + taken > width and end > start:
                lines.append((start, end))
                start, filled = token.start(), 0.0
            end = token.end()
            while filled + taken > width:  # one word that is wider than the line
                length = self._fit(text[start:end], width, size)
                lines.append((start, start + length))
                start, filled = start + length, 0.0
                taken = self.measure(text[start:end], size) if start < end else 0.0
                if len(lines) >= max_lines:
                    return lines, start < len(text.rstrip())
            filled += taken
        if end > start:
            lines.append((start, end))
        return lines[:max_lines], len(lines) > max_lines

    def _fit(self, text: str, width: float, size: float) -> int:
        """How many characters fit, at least one."""
        low, high = 1, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.measure(text[:middle], size) <= width else (low, middle - 1)
        return low

    def shorten(self, text: str, width: float, size: float, suffix: str) -> str:
        """A shown text without its end, so that it fits together with `suffix`, which is put there."""
        text = text[: self._fit(text, width - self.measure(suffix, size), size)]
        head, space, tail = text.rpartition(" ")
        text = head if space and len(tail) < _MAX_BROKEN_WORD else text
        while text and self.measure(text.rstrip() + suffix, size) > width:
            text = text[:-1]
        return text.rstrip() + suffix


def has_right_to_left(text: str) -> bool:
    """Whether some of it is written from right to left, so that places in the text are not places on the line."""
    return any(unicodedata.bidirectional(letter) in _RIGHT_TO_LEFT for letter in text)


def starts_right_to_left(text: str) -> bool:
    """Whether the first letter with a direction is written from right to left, so that the line begins on the right."""
    strong = (unicodedata.bidirectional(letter) for letter in text)
    return next((each for each in strong if each in _RIGHT_TO_LEFT | {"L"}), "L") != "L"


def _is_seen(letter: str) -> bool:
    """Whether a character is one that is seen where a font has it."""
    return unicodedata.category(letter) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"}


def _write_numbers(numbers: list[str]) -> str:
    if not numbers:
        return ""
    more = f" and {len(numbers) - _MAX_NUMBERS} more" if len(numbers) > _MAX_NUMBERS else ""
    return f"[{' '.join(numbers[:_MAX_NUMBERS])}{more}]"


@lru_cache(maxsize=32)
def _find_other_fonts(wanted: frozenset[int]) -> tuple[tuple[str, frozenset[int]], ...]:
    """Families of this machine that have the wanted characters between them, as far as there are any, with what each
    has.
    """
    import matplotlib as mpl
    from matplotlib import font_manager

    found = []
    left = set(wanted)
    own = Path(mpl.get_data_path())  # its other fonts are for formulas and number their signs as they like
    upright = {
        font.name: font.fname
        for font in font_manager.fontManager.ttflist
        if (font.style, font.stretch, font.weight) in {("normal", "normal", 400), ("normal", "normal", "normal")}
    }
    for name, file in sorted(upright.items()):
        if not left:
            break
        letters = frozenset[int]() if Path(file).is_relative_to(own) else _read_letters(font_manager.findfont(name))
        if left & letters:
            found.append((name, letters))
            left -= letters
    return tuple(found)


@lru_cache(maxsize=256)
def _read_letters(file: str) -> frozenset[int]:
    """The characters that a font has outlines for; none if it cannot be read or is made of pixels."""
    from matplotlib.ft2font import FaceFlags, FT2Font

    try:
        font = FT2Font(file)
    except (OSError, RuntimeError):
        return frozenset()
    return frozenset(font.get_charmap()) if FaceFlags.SCALABLE in font.face_flags else frozenset()
