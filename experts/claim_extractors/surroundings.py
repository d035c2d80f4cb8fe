"""What the words around a mention say of how it counts: a total, a part of one, or a second name for the same.

Only for counting (`experts.claim_extractors.counting`); whether the object is there is `scope`'s.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from experts.claim_extractors import english
from experts.claim_extractors.counting import Sighting
from experts.claim_extractors.mentions import Mention
from experts.claim_extractors.noun_phrases import read_number
from experts.claim_extractors.tokens import Token

_STATING = english.words(
    "count counts counted see show shows contain contains feature features depict depicts has have"
)
_EVERYWHERE = (["on"], ["at"], ["in"])
_OF_SEVERAL = (["each"], ["either"], ["every"], ["both"])
_IN_TOTAL = frozenset({"total", "altogether", "overall"})
_LISTING = frozenset({":", "(", "—", "–", "including", "whom", "namely"})
_TELLING_APART = english.words("on in to with at near behind wearing holding")
_MAX_LIST_TOKENS = 40
_MAX_APPOSITION_TOKENS = 8


def describe_sighting(tokens: Sequence[Token], mentions: Sequence[Mention], place: int, *, sentence: int) -> Sighting:
    """The mention at this place among the sentence's, as counting needs it. sentence: its index in the text."""
    mention = mentions[place]
    earlier = [m for m in mentions[max(0, place - 8) : place] if m.name == mention.name]
    mention = replace(mention, number=_number_in_context(tokens, mention))
    total = mention.phrase.counted and mention.number is not None and mention.number > 1
    is_part = _is_part(tokens, mention, earlier)
    return Sighting(
        mention=mention,
        sentence=sentence,
        is_total=total and _states_number(tokens, mention),
        is_sum=total and not is_part and any(token.word in _IN_TOTAL for token in _around(tokens, mention)),
        is_predicate=_is_predicate(tokens, mention)
        or _is_apposition(tokens, mention, earlier)
        or _is_synonym(tokens, mention, earlier),
        is_part=is_part,
        is_distinct=_is_distinct(tokens, mention, earlier),
    )


def _number_in_context(tokens: Sequence[Token], mention: Mention) -> int | None:
    """The mention's number, unless words elsewhere in the sentence change it."""
    phrase = mention.phrase
    before = [token.word for token in tokens[max(0, mention.start - 20) : phrase.left]]
    if phrase.article == "indefinite" and ("each" in before or "every" in before):
        return None
    after = [token.word for token in tokens[mention.end : mention.end + 30]]
    if after[:1] == ["each"] or (after[:1] in _EVERYWHERE and after[1:2] in _OF_SEVERAL):  # two chairs on each side
        return None
    is_one = phrase.partitive or (phrase.counted and tokens[phrase.left].word == "one")
    if is_one and any(after[k : k + 2] == ["the", "other"] for k in range(len(after))):
        return 2
    if is_one and any(one == "another" and two in english.AUXILIARIES for one, two in pairwise(after)):
        return None
    return mention.number


def _around(tokens: Sequence[Token], mention: Mention) -> Sequence[Token]:
    return tokens[max(0, mention.start - 8) : mention.end + 8]


def _states_number(tokens: Sequence[Token], mention: Mention) -> bool:
    """Whether it says how many there are: "there are three dogs", "I count three dogs"."""
    place = mention.phrase.left - 1
    while place >= 0 and tokens[place].word in ("only", "exactly", "just", "about"):
        place -= 1
    if place < 0:
        return False
    return tokens[place].word in _STATING or (
        tokens[place].word in ("are", "'re", "were") and place > 0 and tokens[place - 1].word == "there"
    )


def _is_predicate(tokens: Sequence[Token], mention: Mention) -> bool:
    """Whether it says what something is: "one of them is a poodle"; but not "on the left is a dog"."""
    left = mention.phrase.left
    is_new = mention.phrase.article == "indefinite" or (mention.plural and mention.phrase.article == "bare")
    if not is_new or left < 2 or tokens[left - 1].word not in english.COPULAS:
        return False
    begin = left - 2
    if tokens[begin].word in ("there", "here"):
        return False
    while begin and tokens[begin - 1].word not in ",;:—–" and left - begin < 20:
        begin -= 1
    while begin < left - 2 and tokens[begin].word in ("and", "but", "while", "also", "whereas"):
        begin += 1
    first = tokens[begin].word
    return (
        first
        in english.PRONOUNS | english.RELATIVES | english.DEFINITE | english.POSSESSIVE | {"one", "another", "some"}
        or read_number(first) is not None
    )


def _is_apposition(tokens: Sequence[Token], mention: Mention, earlier: Sequence[Mention]) -> bool:
    """Whether it names one again: "the driver, a man in a hat, …", "one person, the driver, …"; but not "the driver, a
    man and a dog".
    """
    if not earlier or earlier[-1].possessor or mention.phrase.article not in ("indefinite", "definite"):
        return False
    is_one = earlier[-1].phrase.counted and earlier[-1].number == 1
    if not is_one and (mention.phrase.article == "definite" or not earlier[-1].is_given):
        return False
    between = [token.word for token in tokens[earlier[-1].end : mention.phrase.left]]
    if not between or between[-1] != "," or len(between) > _MAX_APPOSITION_TOKENS:
        return False
    after = tokens[mention.end].word if mention.end < len(tokens) else ""
    has_verb = any(word in english.AUXILIARIES for word in between)
    if has_verb and (not is_one or earlier[-1].word != earlier[-1].name or after in english.AUXILIARIES):
        return False  # but "only one person can be seen, the driver"
    return "and" not in between and after not in ("and", "or")


def _is_synonym(tokens: Sequence[Token], mention: Mention, earlier: Sequence[Mention]) -> bool:
    """Whether it is another word for the one before: "a couch or sofa"."""
    return bool(earlier) and earlier[-1].end == mention.phrase.left - 1 and tokens[earlier[-1].end].word == "or"


def _is_part(tokens: Sequence[Token], mention: Mention, earlier: Sequence[Mention]) -> bool:
    """Whether it is one of several before: "three people: a man, …", "friends, including a boy"."""
    whole = next((m for m in earlier if m.plural), None)
    if whole is None:
        return False
    linked = tokens[mention.phrase.left - 1].word
    if linked in ("being", "other"):  # two dogs, one being a puppy and the other a pug
        return True
    between = [token.word for token in tokens[whole.end : mention.start][:_MAX_LIST_TOKENS]]
    if not _LISTING.isdisjoint(between):
        return True
    is_stated = whole.phrase.number is not None and whole.word == whole.name and mention.word != whole.word
    return is_stated and "," in between and (linked == "," or (linked == "and" and earlier[-1] is not whole))


def _is_distinct(tokens: Sequence[Token], mention: Mention, earlier: Sequence[Mention]) -> bool:
    """Whether two places or looks tell two of them apart: "the man in the hat greets the man in the coat"."""
    if not mention.is_given or mention.plural or not _is_told_apart(tokens, mention):
        return False
    return any(m.word == mention.word and m.is_given and _is_told_apart(tokens, m) for m in earlier)


def _is_told_apart(tokens: Sequence[Token], mention: Mention) -> bool:
    return mention.end < len(tokens) and tokens[mention.end].word in _TELLING_APART
