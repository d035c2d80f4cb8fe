"""What stands before a noun: its article, how many it speaks of, and whether it speaks of some already named.

The phrase is read from the noun to the left, through adjectives, to the first word that cannot belong to it. There is
no tagger: every word that is neither a function word nor a plural counts as an adjective.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from experts.claim_extractors import english
from experts.claim_extractors.tokens import Token
from experts.lexicon import Form

Article = Literal["bare", "indefinite", "definite", "possessive", "quantified"]
MAX_ADJECTIVES = 8
_MATES = {"both": "and", "either": "or", "neither": "nor"}
_LARGEST_NUMBER = 500
"""A larger one is a year or a model (a 747 jet) and says nothing of how many there are."""
_PARTS = english.words("some none each most many several all few any half rest which couple pair majority part")
_ALWAYS_INEXACT = english.words("about approximately roughly nearly almost circa maybe perhaps possibly least most")
_INEXACT_BEFORE_TEN = english.words("around over under some to")


@dataclass(frozen=True, kw_only=True, slots=True)
class NounPhrase:
    """The words before a noun. left: the phrase's first token. number: how many it says; None: it does not say."""

    left: int
    article: Article = "bare"
    article_word: str = ""
    number: int | None = None
    counted: bool = False
    """It holds a number, exact or not."""
    ordinal: int | None = None
    additional: bool = False
    """It speaks of others than those named before: another, two more."""
    partitive: bool = False
    """It speaks of some of those named before: two of the dogs."""
    clashes: bool = False
    """A singular article before a plural: then the word is a verb (a man in a jacket skis) or the article another's."""


def read_noun_phrase(tokens: Sequence[Token], start: int, form: Form, *, floor: int) -> NounPhrase:
    """The words that belong to the noun at token `start`. floor: the first token that may; earlier ones are taken."""
    phrase = NounPhrase(left=start)
    for place in range(start - 1, max(floor, start - MAX_ADJECTIVES) - 1, -1):
        word = tokens[place].word
        is_one = form.number == "singular" and place > floor and tokens[place - 1].word in ("a", "an")
        if (value := read_number(word)) is not None and not (is_one and value > 1):  # but a three layer cake
            return _counted(tokens, place, value, replace(phrase, left=place))
        if word in english.ORDINALS:
            phrase = replace(phrase, left=place, ordinal=english.ORDINALS[word])
        elif word in english.MORE_OF_THEM:
            phrase = replace(phrase, left=place, additional=True)
            if word == "another":
                return replace(phrase, article="indefinite", article_word=word)
        elif tokens[place].possessive or word in english.ARTICLES:
            if _pairs_nouns(tokens, place, start + len(form.word.split())):
                return phrase
            return _with_article(tokens, place, form, phrase)
        elif word == "of":
            return _of(tokens, place, form, phrase)
        elif not _may_be_adjective(tokens, place):
            return phrase
        else:
            phrase = replace(phrase, left=place)
    return phrase


def read_number(word: str) -> int | None:
    """The number that a word is, in letters or digits; None for anything else."""
    if word in english.NUMBERS:
        return english.NUMBERS[word]
    if word.isascii() and word.isdigit() and len(word) <= len(str(_LARGEST_NUMBER)):
        return int(word) if int(word) <= _LARGEST_NUMBER else None
    return None


def _counted(tokens: Sequence[Token], place: int, value: int, phrase: NounPhrase) -> NounPhrase:
    before = [*(token.word for token in reversed(tokens[max(0, place - 3) : place])), "", "", ""]
    if tokens[place].word == "dozen":
        if before[:2] == ["a", "half"] or before[0] == "half":
            value //= 2
        elif (dozens := read_number(before[0])) is not None:
            value, before = value * dozens, before[1:]
    if before[0] in ("only", "exactly", "just"):
        before = before[1:]
    inexact = (
        before[0] in _ALWAYS_INEXACT
        or (before[0] == "than" and before[1] in ("more", "fewer", "less"))
        or (before[0] in _INEXACT_BEFORE_TEN and value >= 10)
        or before[0] in ("several", "few", "many")
        or (before[0] == "and" and before[2] == "between")
        or (before[0] in ("or", "to", "-", "–") and read_number(before[1]) is not None)
    )
    phrase = replace(phrase, number=None if inexact else value, counted=True, article="quantified")
    if before[0] in english.POSSESSIVE or (place > 0 and tokens[place - 1].possessive):
        return replace(phrase, article="possessive", left=place - 1)
    if before[0] in english.DEFINITE:
        return replace(phrase, article="definite", left=place - 1, partitive=before[1] == "of" and before[2] in _PARTS)
    return replace(phrase, additional=phrase.additional or before[0] == "another")


def _with_article(tokens: Sequence[Token], place: int, form: Form, phrase: NounPhrase) -> NounPhrase:
    word = tokens[place].word
    phrase = replace(phrase, left=place, article_word=word)
    if tokens[place].possessive or word in english.POSSESSIVE:
        phrase = replace(phrase, article="possessive")
    elif word in ("a", "an"):
        clashes = form.number == "plural" and not phrase.additional
        few = place + 1 < len(tokens) and tokens[place + 1].word in ("few", "great", "good")
        clashes = clashes and not few
        return replace(phrase, article="indefinite", clashes=clashes)
    elif word in english.DEFINITE:
        number = 2 if word in ("both", "neither", "either") else None
        phrase = replace(phrase, article="definite", number=number, counted=number is not None)
    else:
        return replace(phrase, article="quantified")
    if form.number != "singular" and place >= 2 and tokens[place - 1].word == "of":
        part = tokens[place - 2].word
        if part in ("both", "neither", "either"):
            return replace(phrase, number=2, counted=True)
        return replace(phrase, partitive=part in _PARTS or read_number(part) is not None)
    return phrase


def _pairs_nouns(tokens: Sequence[Token], place: int, end: int) -> bool:
    """Whether the word is no article but half of a conjunction: both cats and dogs, neither cats nor dogs."""
    mate = _MATES.get(tokens[place].word)
    after = [token.word for token in tokens[end : end + 2]]
    if mate is None or after[:1] != [mate]:
        return False
    return not any(word in english.ARTICLES | {"half"} or read_number(word) is not None for word in after[1:])


def _of(tokens: Sequence[Token], place: int, form: Form, phrase: NounPhrase) -> NounPhrase:
    """A group word and "of" before the noun: a couple of dogs, two pairs of skis, a slice of cake."""
    group = tokens[place - 1].word if place > 0 else ""
    times = read_number(tokens[place - 2].word) if place > 1 else None
    additional = place > 1 and tokens[place - 2].word == "another"
    phrase = replace(phrase, additional=phrase.additional or additional)
    if group in english.GROUPS_OF:
        number = english.GROUPS_OF[group]
        if group in ("pair", "pairs") and times is not None:
            number = 2 * times
        return replace(phrase, article="quantified", number=number, counted=True)
    if group in ("slice", "piece") and not form.collective and form.number == "singular":
        return replace(phrase, article="quantified", number=1, counted=True)
    if form.collective and group in ("piece", "pieces", "item", "items"):
        return replace(phrase, article="quantified", number=1 if times is None else times, counted=True)
    if form.number == "singular" and group.endswith("s") and not group.endswith("ss"):
        return replace(phrase, article="quantified", counted=True)
    return phrase


def _may_be_adjective(tokens: Sequence[Token], place: int) -> bool:
    word = tokens[place].word
    if word in ("and", ","):
        before, after = tokens[place - 1].word if place else "", tokens[place + 1].word
        return before in english.PLAIN_ADJECTIVES and after not in english.FUNCTION_WORDS
    if word in english.FUNCTION_WORDS:
        return word in english.ADVERBS
    if not word[:1].isalnum():
        return False
    return not word.endswith("s") or word.endswith(("ss", "us", "is")) or len(word) <= 3
