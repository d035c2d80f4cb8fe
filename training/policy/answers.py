"""Whether an answer says what the reference says, whatever its style: exact match for sentences.

Two answers are the same if their words are, or if their *content* is: the words that are left, in their order, without
articles, auxiliaries and phrases such as "the image shows", numbers and object names in one spelling. One of them may
leave out what the question has said already ("It is left of the cat" for "The dog is left of the cat"), but none of
what the question offers to choose from. A leading yes or no may be left out where the sentence says it.

It is strict: another word for the same thing, or a true answer of another form, counts as wrong. Nothing here knows the
image; questions with many right answers are no matter for it (`training.policy.questions`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from experts.claim_extractors.english import NUMBERS, words
from experts.lexicon import Lexicon, default_lexicon
from training.preferences.repetition import words_of

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_LEAD = re.compile(r"^\W*(yes|no)\b\s*(?:[^\w\s]|$)", re.IGNORECASE)
_SAME_NUMBER = re.compile(r"\b(?:as many|as much|the same number|an equal number)\b", re.IGNORECASE)
_FRAME = words(
    "a an the this that these those is are was were be been being am do does did has have had can could may might will "
    "would should it its there here he she they them i we you one's in on at of to from with by for as than and or but "
    "so which who what where when how image picture photo photograph scene show shows shown showing see sees seen look "
    "looks visible located located count counts counted contain contains depict depicts display displays say says read "
    "reads text object objects thing things answer total just some any"
)
_NUMBERS = {word: str(number) for word, number in NUMBERS.items()} | dict.fromkeys(("no", "none", "not"), "0")
_DENIAL = "0"
"""How every "no", "not" and "none" is spelt; a denial is never left out, though the question has one."""


@dataclass(frozen=True, slots=True)
class _Content:
    """What a text says. lead: its leading yes or no, which `words` has not."""

    lead: str | None
    words: tuple[str, ...]


def says_the_same(answer: str, reference: str, question: str, lexicon: Lexicon | None = None) -> bool:
    """Whether an answer to the question agrees with the reference. lexicon: the COCO names by default."""
    if words_of(answer) == words_of(reference):
        return bool(words_of(answer))
    lexicon = lexicon or default_lexicon()
    one, other = _content(answer, lexicon), _content(reference, lexicon)
    if one.lead and other.lead:
        if one.lead != other.lead:
            return False
        if not one.words or not other.words:
            return True
    elif one.lead or other.lead:
        led, free = (one, other) if one.lead else (other, one)
        if not led.words or not free.words:
            return False
    given = _given(question, lexicon)
    return _is_within(one.words, other.words, given) or _is_within(other.words, one.words, given)


def _is_within(short: Sequence[str], long: Sequence[str], given: frozenset[str]) -> bool:
    """Whether `long` says `short` and besides only what is given."""
    place = 0
    for word in long:
        if place < len(short) and word == short[place]:
            place += 1
        elif word not in given:
            return False
    return place == len(short) > 0


def _content(text: str, lexicon: Lexicon) -> _Content:
    lead = _LEAD.match(text)
    found = [word for word in _spell(text[lead.end() :] if lead else text, lexicon) if word not in _FRAME]
    if _SAME_NUMBER.search(text):
        found.sort()
    return _Content(lead.group(1).lower() if lead else None, tuple(found))


def _given(question: str, lexicon: Lexicon) -> frozenset[str]:
    """What the question says, without what it offers to choose from."""
    spelt = _spell(question, lexicon)
    offered: set[str] = set()
    for place, word in enumerate(spelt):
        if word == "or":
            before = [w for w in spelt[:place] if w not in _FRAME]
            after = [w for w in spelt[place + 1 :] if w not in _FRAME and w not in before]
            offered.update(before[-1:], after[:1])
    return frozenset(word for word in spelt if word not in _FRAME) - offered - {_DENIAL}


def _spell(text: str, lexicon: Lexicon) -> list[str]:
    """The words of a text in one spelling: objects by the lexicon's names, small numbers and denials as digits."""
    raw = _WORD.findall(re.sub(r"(\w)n['’]t\b", r"\1 not", text.lower()))
    spelt: list[str] = []
    place = 0
    while place < len(raw):
        found = lexicon.find(raw, raw, place)
        if found is not None and found[1].name is not None:
            spelt.append(found[1].name)
            place += found[0]
        else:
            spelt.append(_NUMBERS.get(raw[place], raw[place]))
            place += 1
    return spelt
