"""Whether a critique is about what two responses differ in: a check of words that needs no model.

A small judge often misquotes long responses, and then its verdict is right by chance. What a critique says of a
difference cannot be understood here, but a critique that repeats no word of it cannot be about it.
"""

import re

from training.sources import Pair

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
"""A word, or a character of a script that writes no spaces between words."""
_SAYING_NOTHING = frozenset(["a", "an", "the", "yes", "no", "is", "are", "there", "it", "in", "on", "of", "and", "i"])
"""Words that need not come back where they differ: "Yes, there is a dog." is rightly quoted as "a dog"."""


def names_difference(critique: str, pair: Pair) -> bool:
    """Whether the critique has a word that only the one response has, and one that only the other has.

    A response with no telling word of its own, as where two things change places, asks for none.
    """
    words = _words_of(critique)
    one, other = _words_of(pair.response_a), _words_of(pair.response_b)
    return all(not own or own & words for own in (one - other - _SAYING_NOTHING, other - one - _SAYING_NOTHING))


def _words_of(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))
