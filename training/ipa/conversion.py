"""What form a question has, whether an answer to it is clear, and how options are taken away from a question.

Three forms: open, yes or no, and a choice among lettered options. The rules need no model. What they do not understand
counts as open, or stays as it is.
"""

import re
from collections.abc import Sequence
from typing import Literal

from training.preferences.repetition import words_of

Form = Literal["open", "yes-no", "choice"]

_LETTERS = "ABCDEFGH"
_MARK = re.compile(r"(?:^|(?<=\s))(?:\(([A-H])\)|([A-H])[.):])\s*(?=\S)", re.MULTILINE)
_INSTRUCTION = re.compile(
    r"[^\S\n]*\b(?:please\s+)?(?:answer|respond|reply|select|choose|pick)\b[^\n.]*\b(?:letters?|options?|choices?)\b"
    r"[^\n.]*\.?",
    re.IGNORECASE,
)
_HEADING = re.compile(r"\s*\b(?:options|choices)\s*:?\s*$", re.IGNORECASE)
_NEEDS_OPTIONS = re.compile(r"\b(?:following|options?|choices?|below|of these|listed)\b", re.IGNORECASE)
_LEADING_LETTER = re.compile(r"^\s*(?:\(([A-H])\)|([A-H])(?:[.):]|\s*$))")
_NAMED_LETTER = re.compile(r"\b(?i:answer|option|choice)\b(?:\s+(?i:is))?\s*:?\s*\(?([A-H])\b\)?")
_POLARITY = re.compile(r"(?:^|[.!?\n]\s*|\banswer is:?\s+)(yes|no)\b(?!\s+(?:and|or)\s+(?:yes|no)\b)", re.IGNORECASE)
_BOTH = re.compile(r"\b(?:yes (?:and|or) no|no (?:and|or) yes)\b", re.IGNORECASE)


def split_options(question: str) -> tuple[str, tuple[str, ...]]:
    """The question without its options and without the request for a letter, and the options; none if there are not
    two of them, lettered from A on.
    """
    text = _INSTRUCTION.sub("", question)
    marks: list[re.Match[str]] = []
    for mark in _MARK.finditer(text):
        if len(marks) < len(_LETTERS) and (mark.group(1) or mark.group(2)) == _LETTERS[len(marks)]:
            marks.append(mark)
    if len(marks) < 2:
        return question, ()
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    options = [text[mark.end() : end].strip().rstrip(",;") for mark, end in zip(marks, ends, strict=True)]
    options[-1], _, rest = options[-1].partition("\n")
    stem = _HEADING.sub("", text[: marks[0].start()]).strip()
    return " ".join(part for part in (stem, rest.strip()) if part), tuple(option.strip() for option in options)


def find_option(text: str, options: Sequence[str]) -> int | None:
    """Which option an answer takes: by the letter that it begins with or names, else by the option's words. None if
    by none or by several.
    """
    leading = _LEADING_LETTER.match(text)
    letters = {leading.group(1) or leading.group(2)} if leading else set(_NAMED_LETTER.findall(text))
    if letters:
        number = _LETTERS.index(letters.pop())
        return number if not letters and number < len(options) else None
    words = f" {words_of(text)} "
    found = [number for number, option in enumerate(options) if f" {words_of(option)} " in words]
    longest = [n for n in found if not any(n != m and words_of(options[n]) in words_of(options[m]) for m in found)]
    return longest[0] if len(longest) == 1 else None


def find_form(question: str, reference: str) -> tuple[Form, tuple[str, ...]]:
    """The form of a question with this reference answer, and its options if it is a choice."""
    _, options = split_options(question)
    if options and find_option(reference, options) is not None:
        return "choice", options
    return ("yes-no" if _polarity(reference) else "open"), ()


def open_up(question: str, reference: str) -> tuple[str, str] | None:
    """A choice as an open question: without options, and with the right option's text as reference.

    None if it is no choice, or makes no sense without its options ("Which of the following …").
    """
    stem, options = split_options(question)
    right = find_option(reference, options) if options else None
    if right is None or not stem or not options[right] or _NEEDS_OPTIONS.search(stem):
        return None
    return stem, options[right]


def read_clear_answer(text: str, form: Form, options: Sequence[str]) -> str | None:
    """What an answer to a question of that form comes down to (yes, no, or a letter); None if it is not clear, as it is
    for every open question.
    """
    if form == "choice":
        number = find_option(text, options)
        return None if number is None else _LETTERS[number]
    return _polarity(text) if form == "yes-no" else None


def _polarity(text: str) -> str | None:
    """The yes or no that a sentence of the text begins with, if all such sentences agree."""
    found = {word.lower() for word in _POLARITY.findall(text)}
    return found.pop() if len(found) == 1 and not _BOTH.search(text) else None
