"""Guided errors: a reference answer with exactly one thing made false, by rules that need no model.

The kinds follow SugarCrepe (arXiv 2306.14610): another object, attribute, relation or count, a swap of two objects,
existence turned round, another text on a sign; and an answer borrowed from another image that was asked the same.
Style and length stay, so that only the image tells which answer is right. Replacements come from the references
themselves, in the number and case of what they replace: a word that only wrong answers have would give them away.

That the result is wrong is likely, not certain ("a cat" in place of "a dog" where both are there). Experts check it.
"""

import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from experts.claim_extractors.english import words
from experts.lexicon import Form, Lexicon, default_lexicon

ErrorKind = Literal["object", "attribute", "relation", "count", "swap", "existence", "text", "borrowed"]

_CONTRASTS = Path(__file__).parent / "contrasts.json"
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_AFTER_THINGS = words("and or in on at of to than the are is that which with near by visible here there")
_FEW_EDITS = 2
"""Where the rules find fewer errors than this, an answer is borrowed as well: such errors are easier to see."""
_SIGN = re.compile(r"\b(?:[A-Z]{2,}|\d+)\b")
_YES_NO = {"yes": "no", "no": "yes"}
_THERE = re.compile(r"\bthere (is|are) (no|an?|any)\b(?= \w)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Edit:
    """A reference with one error."""

    text: str
    kind: ErrorKind


@dataclass(frozen=True, slots=True)
class Noun:
    """An object's name in a text. start, end: characters."""

    start: int
    end: int
    form: Form


class RuleEditor:
    """Makes errors. exchanges: (question, reference) of all rows, which replacements are taken from.

    by_frequency: names and signs are drawn as often as references have them, else each alike. to_zero: one may become
    none, and none one; else counts stay at one or above.
    """

    def __init__(
        self,
        exchanges: Iterable[tuple[str, str]],
        lexicon: Lexicon | None = None,
        *,
        by_frequency: bool = False,
        to_zero: bool = False,
    ) -> None:
        self._lexicon, self._by_frequency, self._to_zero = lexicon or default_lexicon(), by_frequency, to_zero
        self._objects: dict[str, Counter[str]] = defaultdict(Counter)
        self._signs: dict[bool, Counter[str]] = defaultdict(Counter)
        self._answers: dict[str, list[str]] = defaultdict(list)
        for question, reference in exchanges:
            self._answers[question].append(reference)
            for noun in self.find_nouns(reference):
                self._objects[noun.form.number][reference[noun.start : noun.end].lower()] += 1
            for sign in _SIGN.findall(reference):
                self._signs[sign.isdigit()][sign] += 1

    def edit(self, question: str, reference: str, rng: random.Random) -> Iterator[Edit]:
        """Different errors in the reference, kinds in random order; none where no rule applies."""
        makers = [self._object, self._contrast, self._count, self._swap, self._existence, self._sign]
        rng.shuffle(makers)
        seen = {_plain(reference)}
        edits = [edit for make in makers for edit in make(reference, rng)]
        if len(edits) < _FEW_EDITS:
            edits += self._borrow(question, reference, rng)
        for edit in edits:
            if _plain(edit.text) not in seen:
                seen.add(_plain(edit.text))
                yield edit

    def edit_as(self, kind: ErrorKind, question: str, reference: str, rng: random.Random) -> Iterator[Edit]:
        """Errors of one kind only; none where its rule does not apply."""
        makers = {
            "object": self._object, "attribute": self._contrast, "relation": self._contrast, "count": self._count,
            "swap": self._swap, "existence": self._existence, "text": self._sign,
        }  # fmt: skip
        if kind == "borrowed":
            yield from self._borrow(question, reference, rng)
            return
        edits = makers[kind](reference, rng)
        for edit in chain(edits, self._swap_counts(reference, rng)) if kind == "swap" else edits:
            if edit.kind == kind and _plain(edit.text) != _plain(reference):
                yield edit

    def draw_object(self, number: str, absent_from: str, rng: random.Random) -> str | None:
        """A name of an object in this number ("singular", "plural") that a text does not name; None if all are."""
        there = {noun.form.name for noun in self.find_nouns(absent_from)}
        counted = self._objects[number]
        others = [w for w in counted if self._lexicon.canonical_name(w) not in there]
        return self._draw(counted, others, rng) if others else None

    def _draw(self, counted: Counter[str], allowed: list[str], rng: random.Random) -> str:
        """One of the allowed words (at least one), by how often they were counted or each alike."""
        ordered = sorted(allowed)
        return rng.choices(ordered, [counted[w] for w in ordered])[0] if self._by_frequency else rng.choice(ordered)

    def find_nouns(self, text: str) -> list[Noun]:
        """The objects that a text names and where, in its order."""
        spans = [match.span() for match in _WORD.finditer(text)]
        lowered = [text[start:end].lower() for start, end in spans]
        nouns, place = [], 0
        while place < len(lowered):
            found = self._lexicon.find(lowered, lowered, place)
            if found is not None and found[1].name is not None:
                nouns.append(Noun(spans[place][0], spans[place + found[0] - 1][1], found[1]))
            place += found[0] if found is not None else 1
        return nouns

    def _object(self, text: str, rng: random.Random) -> Iterator[Edit]:
        nouns = self.find_nouns(text)
        for noun in rng.sample(nouns, len(nouns)):
            other = self.draw_object(noun.form.number, text, rng)
            if other is not None:
                yield Edit(text=put_words(text, noun.start, noun.end, other), kind="object")
                return

    def _contrast(self, text: str, rng: random.Random) -> Iterator[Edit]:
        nouns = self.find_nouns(text)
        free = [m for m in _WORD.finditer(text) if not any(n.start <= m.start() < n.end for n in nouns)]
        used = {_spelling(match.group()) for match in free}
        found = [
            (match, members, kind)
            for match in free
            for kind, sets in _contrasts().items()
            for members in sets
            if _spelling(match.group()) in members
        ]
        if found:
            match, members, kind = rng.choice(found)
            others = [m for m in members if m not in used] or [m for m in members if m != _spelling(match.group())]
            yield Edit(text=put_words(text, *match.span(), rng.choice(others)), kind=kind)

    def _count(self, text: str, rng: random.Random) -> Iterator[Edit]:
        counted = self._find_counts(text)
        if counted:
            match = rng.choice(counted)
            number, least = _number_of(match), 0 if self._to_zero else 1
            other = number + 1 if number <= least or (rng.random() < 0.5 and number < 10) else number - 1
            yield Edit(text=self._recount(text, match, other), kind="count")

    def _find_counts(self, text: str) -> list[re.Match[str]]:
        numbers = "|".join(_NUMBERS[0 if self._to_zero else 1 :])
        return list(re.finditer(rf"\b({numbers}|\d{{1,2}}) ([a-z]+)", text, re.IGNORECASE))

    def _recount(self, text: str, match: re.Match[str], other: int) -> str:
        """The text with another number of the things that were counted there."""
        written = str(other) if match.group(1).isdigit() else _NUMBERS[other]
        noun = next((n for n in self.find_nouns(text) if n.start == match.start(2)), None)
        end = noun.end if noun is not None else _end_of_thing(text, match.start(2))
        thing = text[match.start(2) : end]
        if (_number_of(match) == 1) != (other == 1):
            thing = _plural(thing) if other != 1 else _singular(thing)
        edited = put_words(text, match.start(), end, f"{written} {thing}")
        return _agree(edited, match.start(), plural=other != 1)

    def _swap_counts(self, text: str, rng: random.Random) -> Iterator[Edit]:
        """The numbers of two things swapped."""
        counted = self._find_counts(text)
        pairs = [(a, b) for i, a in enumerate(counted) for b in counted[i + 1 :] if _number_of(a) != _number_of(b)]
        if pairs:
            a, b = rng.choice(pairs)
            later = self._recount(text, b, _number_of(a))
            yield Edit(text=self._recount(later, a, _number_of(b)), kind="swap")

    def _swap(self, text: str, rng: random.Random) -> Iterator[Edit]:
        nouns = self.find_nouns(text)
        pairs = [
            (a, b)
            for i, a in enumerate(nouns)
            for b in nouns[i + 1 :]
            if a.form.number == b.form.number and a.form.name != b.form.name
        ]
        if pairs and not _is_list(text):
            a, b = rng.choice(pairs)
            one, two = text[a.start : a.end], text[b.start : b.end]
            yield Edit(text=put_words(put_words(text, b.start, b.end, one), a.start, a.end, two), kind="swap")

    def _existence(self, text: str, rng: random.Random) -> Iterator[Edit]:
        match = _THERE.search(text)
        if match is None:
            return
        after = text[match.end() + 1 :]
        denied = match.group(2).lower() == "no"
        singular = match.group(1).lower() == "is"
        article = ("an" if after[:1].lower() in "aeiou" else "a") if singular else "some"
        edited = text[: match.start(2)] + (article if denied else "no") + text[match.end(2) :]
        first = _WORD.match(edited)
        if first is not None and first.group().lower() in _YES_NO:
            edited = put_words(edited, *first.span(), _YES_NO[first.group().lower()])
        yield Edit(text=edited, kind="existence")

    def _sign(self, text: str, rng: random.Random) -> Iterator[Edit]:
        found = list(_SIGN.finditer(text))
        if found:
            match = rng.choice(found)
            counted = self._signs[match.group().isdigit()]
            others = [sign for sign in counted if sign != match.group()]
            if others:
                sign = self._draw(counted, others, rng)
                yield Edit(text=text[: match.start()] + sign + text[match.end() :], kind="text")

    def _borrow(self, question: str, reference: str, rng: random.Random) -> list[Edit]:
        known = self._content(reference)
        others = sorted({answer for answer in self._answers[question] if self._content(answer) != known})
        return [Edit(text=rng.choice(others), kind="borrowed")] if others else []

    def _content(self, text: str) -> frozenset[str]:
        """What an answer says, whatever its style: objects, numbers, signs, attributes, relations, yes or no."""
        spelt = {_spelling(word) for word in _WORD.findall(text)}
        telling = spelt & {*_NUMBERS, *_YES_NO, *(m for sets in _contrasts().values() for s in sets for m in s)}
        return frozenset(telling | set(_SIGN.findall(text)) | {str(noun.form.name) for noun in self.find_nouns(text)})


@cache
def _contrasts() -> dict[ErrorKind, list[list[str]]]:
    """Words that exclude each other, in their first spelling."""
    data = json.loads(_CONTRASTS.read_text(encoding="utf-8"))
    kinds: tuple[ErrorKind, ...] = ("attribute", "relation")
    return {kind: [[entry.split("|")[0] for entry in members] for members in data[kind]] for kind in kinds}


@cache
def _spellings() -> dict[str, str]:
    data = json.loads(_CONTRASTS.read_text(encoding="utf-8"))
    entries = [entry for kind in ("attribute", "relation") for members in data[kind] for entry in members]
    return {variant: entry.split("|")[0] for entry in entries for variant in entry.split("|")}


def _number_of(match: re.Match[str]) -> int:
    word = match.group(1).lower()
    return int(word) if word.isdigit() else _NUMBERS.index(word)


def _spelling(word: str) -> str:
    return _spellings().get(word.lower(), word.lower())


def put_words(text: str, start: int, end: int, new: str) -> str:
    """The text with a stretch replaced, in the case of what was there, the article before it agreeing."""
    old = text[start:end]
    if old[:1].isupper():
        new = new[:1].upper() + new[1:]
    before = re.sub(r"\b([Aa])n? $", lambda a: a.group(1) + ("n " if new[:1].lower() in "aeiou" else " "), text[:start])
    return before + new + text[end:]


def _agree(text: str, start: int, *, plural: bool) -> str:
    """The text with "there is" or "there are" right before a changed count agreeing with it."""
    verb = "are" if plural else "is"
    return re.sub(r"\b(there|There) (?:is|are) $", rf"\1 {verb} ", text[:start]) + text[start:]


def _is_list(text: str) -> bool:
    """A list of objects says the same in any order."""
    return bool(re.search(r"\ba\w* \w+(?: \w+)?(?:, a\w* \w+(?: \w+)?)* and a", text)) and not re.search(r"\d", text)


def _end_of_thing(text: str, start: int) -> int:
    """Where the words of a counted thing that the lexicon does not know end: "two kitchen things in the image"."""
    end = start
    for word in _WORD.finditer(text, start):
        if (end > start and text[end : word.start()] != " ") or word.group().lower() in _AFTER_THINGS:
            break
        end = word.end()
    return end


def _plural(noun: str) -> str:
    return noun if _inflect().singular_noun(noun) else str(_inflect().plural_noun(noun))


def _singular(noun: str) -> str:
    return str(_inflect().singular_noun(noun) or noun)


@cache
def _inflect() -> Any:  # noqa: ANN401 - a library without types
    import inflect

    return inflect.engine()


def _plain(text: str) -> str:
    """What two texts must share to be the same answer: their words."""
    return " ".join(word.lower() for word in _WORD.findall(text))
