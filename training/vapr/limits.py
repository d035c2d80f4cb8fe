"""What an edit must keep of its reference: its length, most of its words, and its style.

The length rule is VL-RewardBench's, |len₁ − len₂| / min ≤ 0.1. An answer of five words could not change by one word
under it, so one token more or less is always allowed. The bound on changed words and the marks of style are ours; the
paper says that length and style are kept, and not how.
"""

import re
from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field

from experts.claim_extractors.english import words
from training.jobs.config import Section
from training.vapr.wording import count_changed_words, split_words

LimitFate = Literal["unchanged", "length off limits", "too much changed", "style moved"]
CountTokens = Callable[[str], int]

_END = re.compile(r"[^\w\s\"'”’)]*[\"'”’)]*\s*$")
_MARKUP = re.compile(r"[*#`|<>_~]|^\s*(?:[-•]|\d+[.)])\s", re.MULTILINE)
_DETERMINERS = words(
    "a an the some no any one two three four five six seven eight nine ten zero this that these those several"
)
_YES_NO = re.compile(r"\s*(?:yes|no)\s*(?:[,.!;:]|$)", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")


class Limits(Section):
    """How far an edit may go."""

    max_length_ratio: float = Field(
        0.1, ge=0, description="|len₁ − len₂| / min, in tokens; one token is always allowed."
    )
    max_edit_ratio: float = Field(0.3, ge=0, le=1, description="Changed words / words of the longer text.")
    free_edits: int = Field(
        4, ge=0, description="Changed words that are always allowed: a swap in a short answer has four."
    )
    style: bool = Field(default=True, description="Refuse edits whose style moved.")
    tokenizer: str | None = Field(None, description="Folder or hub id whose tokens are counted; default: words.")

    def most_added_tokens(self, num_tokens: int) -> int:
        """How much longer than num_tokens an edit may be."""
        return max(1, int(self.max_length_ratio * num_tokens))


def open_counter(limits: Limits) -> CountTokens:
    """How tokens are counted: words, or the tokens of a model. Raises ModelLoadError."""
    if limits.tokenizer is None:
        return lambda text: len(split_words(text))
    from transformers import AutoTokenizer

    from genrm.errors import ModelLoadError

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(limits.tokenizer)
    except (OSError, ValueError) as error:
        raise ModelLoadError(
            f"The tokenizer {limits.tokenizer!r} (limits.tokenizer) cannot be loaded ({type(error).__name__}). Name a "
            "model folder or hub id, or leave it out to count words."
        ) from error
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])


def check_limits(reference: str, edited: str, limits: Limits, count_tokens: CountTokens) -> LimitFate | None:
    """The first limit that an edit breaks; None if it keeps all."""
    one, other = split_words(reference), split_words(edited)
    if not other or [w.lower() for w in one] == [w.lower() for w in other]:
        return "unchanged"
    lengths = count_tokens(reference), count_tokens(edited)
    if abs(lengths[0] - lengths[1]) > limits.most_added_tokens(min(lengths)):
        return "length off limits"
    most = max(limits.free_edits, limits.max_edit_ratio * max(len(one), len(other)))
    if count_changed_words(one, other) > most:
        return "too much changed"
    if limits.style and describe_style(reference) != describe_style(edited):
        return "style moved"
    return None


def describe_style(text: str) -> tuple[str, ...]:
    """The marks of a text's style: how it begins, its case, sentences, lines, mark-up, and how it ends."""
    end = _END.search(text)
    return (
        _beginning(text),
        _case(text),
        f"{len(_SENTENCE_END.findall(text))} sentences",
        f"{len(text.strip().splitlines())} lines",
        f"{len(_MARKUP.findall(text))} marks",
        end.group().strip() if end is not None else "",
    )


def _beginning(text: str) -> str:
    """A class for the first word where an error may stand there, else the word."""
    if _YES_NO.match(text):
        return "yes-no"
    first = next(iter(split_words(text)), "").lower()
    if first.isdigit() or first in _DETERMINERS:
        return "determiner"
    return first if first in _OPENERS else "word"


_OPENERS = words("there it i the in on at we he she they you sure here certainly okay ok well based looking as from")
"""Beginnings that are a manner of speaking; any other first word may be what the error is in."""


def _case(text: str) -> str:
    letters = [letter for letter in text if letter.isalpha()]
    if letters and all(letter.isupper() for letter in letters):
        return "upper case"
    return "capital first" if letters and letters[0].isupper() else "small first"
