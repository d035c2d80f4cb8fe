"""Texts as words: how many an edit changes, and whether it changes what is said at all."""

import re
from collections.abc import Sequence

from experts.claim_extractors.english import COLOURS, words
from experts.claims import extract_claims
from experts.lexicon import default_lexicon

_TOKEN = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_EMPTY = words("a an the some any also just")
_SPELLINGS = {
    "zero": "no",
    "gray": "grey",
    "center": "centre",
    "color": "colour",
    "colored": "coloured",
    "photo": "image",
    "picture": "image",
}
_DECIDING = words(
    "no not none never without nothing nobody neither nor n't more fewer less only than except but yes"
) | frozenset(_NUMBERS)
_IN_IMAGE = re.compile(r"\bin (?:the|this) (?:image|picture|photo)\b", re.IGNORECASE)
_TELLING = COLOURS | words(
    "left right above below over under on in behind beside near between inside outside than with of to upper lower "
    "middle center centre top bottom large small big old young open closed empty full wet dry tall short as"
)
"""Words by which order matters: what stands where, is of which colour, is more than what."""


def split_words(text: str) -> list[str]:
    """The words of a text, as written."""
    return _TOKEN.findall(text)


def count_changed_words(one: Sequence[str], other: Sequence[str]) -> int:
    """Least number of words to replace, insert or drop to turn one into the other (Levenshtein), case aside."""
    ones, others = [w.lower() for w in one], [w.lower() for w in other]
    while ones and others and ones[-1] == others[-1]:
        ones.pop()
        others.pop()
    start = next((i for i, (a, b) in enumerate(zip(ones, others, strict=False)) if a != b), min(len(ones), len(others)))
    ones, others = ones[start:], others[start:]
    row = list(range(len(others) + 1))
    for i, a in enumerate(ones, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(others, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def says_the_same(reference: str, edited: str) -> bool:
    """Whether an edit certainly still follows from its reference, as far as words tell without a model.

    It does if both say the same in other spelling, digits or synonyms of one object; if it lists the same things in
    another order; or if it only leaves something out and what is left out decides nothing.
    """
    one, other = _meaning(reference), _meaning(edited)
    if one == other:
        return True
    if sorted(one) == sorted(other):
        return _is_reordered(reference, edited)
    left_out = _left_out(one, other)
    return bool(left_out) and not _DECIDING & set(left_out)


def _is_reordered(reference: str, edited: str) -> bool:
    """Whether texts of the same words name the same objects in other places of a list, where order says nothing.

    Sentences that both have are passed over, so that a relation elsewhere does not count.
    """
    ones, others = _split_sentences(reference), _split_sentences(edited)
    one = " ".join(sentence for sentence in ones if sentence not in others)
    other = " ".join(sentence for sentence in others if sentence not in ones)
    if _TELLING & {word.lower() for word in split_words(_IN_IMAGE.sub(" ", strip_objects(one)))}:
        return False
    return {(c.name, c.polarity, c.count) for c in extract_claims(one)} == {
        (c.name, c.polarity, c.count) for c in extract_claims(other)
    }


def strip_objects(text: str) -> str:
    """The words of a text without those that name objects."""
    lexicon = default_lexicon()
    written = split_words(text)
    raw, kept, place = [word.lower() for word in written], [], 0
    while place < len(raw):
        found = lexicon.find(raw, raw, place)
        if found is None or found[1].name is None:
            kept.append(written[place])
        place += found[0] if found is not None else 1
    return " ".join(kept)


def _split_sentences(text: str) -> list[str]:
    return [sentence.strip() for sentence in re.split(r"(?<=[.!?])\s+", text.lower()) if sentence.strip()]


def _meaning(text: str) -> list[str]:
    """The words that say something, objects by the name that all their synonyms share."""
    lexicon = default_lexicon()
    raw = [word.lower() for word in split_words(text)]
    meaning, place = [], 0
    while place < len(raw):
        found = lexicon.find(raw, raw, place)
        if found is not None and found[1].name is not None and not found[1].is_kind:
            size, form = found
            meaning.append(f"{form.name}/{form.number}" if form.number != "either" else str(form.name))
            place += size
            continue
        word = raw[place]
        if word not in _EMPTY:
            number = int(word) if word.isdigit() else len(_NUMBERS)
            meaning.append(_NUMBERS[number] if number < len(_NUMBERS) else _SPELLINGS.get(word, word))
        place += 1
    return meaning


def _left_out(whole: Sequence[str], part: Sequence[str]) -> list[str]:
    """What must be left out of the whole to get the part; nothing if the part is not made by leaving out."""
    left_out, place = [], 0
    for word in whole:
        if place < len(part) and part[place] == word:
            place += 1
        else:
            left_out.append(word)
    return left_out if part and place == len(part) else []
