"""How many of one object a text speaks of, over all its mentions.

A new mention adds ("a man … another man"), a definite one adds nothing unless it must be someone else ("a batter … the
umpire"), a stated total covers its parts ("three people: a man, a woman and a baby"). Where that stays unclear, or any
part is not counted ("several dogs"), the number is None.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from experts.claim_extractors.mentions import Mention
from experts.lexicon import Lexicon

_OPPOSITES = (("male", "female"), ("young", "grown"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Sighting:
    """A mention that is affirmed, with what its surroundings say of how it counts."""

    mention: Mention
    sentence: int
    is_total: bool = False
    """The sentence says how many there are in all: "there are three dogs"."""
    is_sum: bool = False
    """It is the sum of everything: "three dogs in total"."""
    is_predicate: bool = False
    """It says what something already named is: "the third is a terrier"."""
    is_distinct: bool = False
    """It is told apart from one of the same name in its sentence: "the man in the hat … the man in the coat"."""
    is_part: bool = False
    """It lists parts of what was counted before it: behind a colon, "including" and the like."""


def count_objects(sightings: Sequence[Sighting], lexicon: Lexicon) -> int | None:
    """How many objects the affirmed mentions of one name speak of; None: the text leaves it open."""
    tally = _Tally(lexicon)
    for sighting in sightings:
        tally.add(sighting)
    return tally.total if tally.is_known else None


class _Tally:
    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        self.total = 0
        self.is_known = True
        self._first: Sighting | None = None
        self._last_sentence = -1
        self._words: set[str] = set()
        self._plurals: set[str] = set()
        """The words of all mentions, and of those that speak of several."""
        self._is_summed = False
        self._whole: Sighting | None = None
        self._open_parts = 0
        """How many of the stated total (the whole) may still be named one by one."""

    def add(self, sighting: Sighting) -> None:
        """Count one mention in."""
        mention = sighting.mention
        if self._is_summed:
            self.total = max(self.total, mention.number or 0) if sighting.is_sum else self.total
        elif self._first is None:
            self._add_number(mention.number if mention.phrase.ordinal is None else mention.phrase.ordinal)
        elif mention.phrase.partitive or sighting.is_predicate:
            pass
        elif sighting.is_distinct:
            self._add_number(mention.number)
        elif mention.phrase.ordinal is not None:
            self._add_ordinal(mention, mention.phrase.ordinal)
        elif mention.phrase.additional:
            self._add_others(mention)
        elif mention.is_given:
            self._add_given(sighting)
        elif self._is_one_of_those_before(mention):
            pass
        else:
            self._add_new(sighting, self._first)
        if sighting.is_sum and mention.number is not None and not self._is_summed:
            self.total, self.is_known, self._is_summed = mention.number, True, True
        if sighting.is_total and mention.number is not None and self._whole is None and self._is_general(mention):
            self._whole, self._open_parts = sighting, mention.number
        self._first, self._last_sentence = self._first or sighting, sighting.sentence
        self._words.add(mention.word)
        if mention.plural:
            self._plurals.add(mention.word)

    def _add_number(self, number: int | None) -> None:
        if number is None:
            self.is_known = False
        else:
            self.total += number

    def _add_others(self, mention: Mention) -> None:
        if mention.phrase.article == "definite":  # the other one: of two, if not of more
            self.total = max(self.total, 2)
        else:
            self._add_number(mention.number)

    def _add_ordinal(self, mention: Mention, ordinal: int) -> None:
        if mention.phrase.article == "indefinite":
            self.total = max(self.total + 1, ordinal)
        else:
            self.total = max(self.total, ordinal)

    def _add_given(self, sighting: Sighting) -> None:
        mention = sighting.mention
        if self._may_be_one_before(sighting):
            if mention.phrase.counted and mention.number is not None:
                self.total = max(self.total, mention.number)
        else:
            self._add_number(mention.number)

    def _add_new(self, sighting: Sighting, first: Sighting) -> None:
        number = sighting.mention.number
        later = self._whole is not None and self._whole.sentence != sighting.sentence
        if self._may_be_the_only_one(sighting, first):
            self.is_known = False
        elif number is not None and (sighting.is_part or (later and number <= self._open_parts)):
            self._open_parts -= number
        else:
            self._add_number(number)

    def _may_be_one_before(self, sighting: Sighting) -> bool:
        """Whether a definite noun can mean an object named before."""
        mention = sighting.mention
        if mention.word in self._words or self._is_general(mention):
            return True
        if mention.phrase.article == "possessive":
            return False
        if all(self._differ(mention.word, word) for word in self._words):
            return False
        return self._last_sentence != sighting.sentence

    def _may_be_the_only_one(self, sighting: Sighting, first: Sighting) -> bool:
        """Whether it may tell more of the first: "There is one person. A man rides a horse.", or a second one."""
        mention = sighting.mention
        return (
            first.sentence != sighting.sentence
            and (first.mention.phrase.counted, first.mention.number, mention.number) == (True, 1, 1)
            and mention.phrase.article == "indefinite"
            and (self._is_general(first.mention) or first.mention.word == mention.word)
        )

    def _is_general(self, mention: Mention) -> bool:
        """Whether the word is the object's name itself, so that it can mean any of them."""
        return mention.word in (mention.name, "individual")

    def _differ(self, one: str, other: str) -> bool:
        traits = self._lexicon.words.traits
        pairs = [(traits.get(a, ()), traits.get(b, ())) for a, b in _OPPOSITES]  # type: ignore[call-overload]
        return any((one in a and other in b) or (one in b and other in a) for a, b in pairs)

    def _is_one_of_those_before(self, mention: Mention) -> bool:
        """Whether it is one of several just named: "one woman" after "two women"."""
        if mention.phrase.number != 1 or mention.phrase.article_word:
            return False
        return mention.word in self._plurals
