"""The rule-based editor: `training.preferences.editing` for the kinds it knows, and rules for the others.

It proposes many different texts, so that the balance of words has something to choose from. Where the question names
the alternatives ("a dog or a cat", "left or right"), only these make a wrong answer to it.
"""

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import get_args

from experts.lexicon import Form
from training.preferences.editing import ErrorKind as SharedKind
from training.preferences.editing import RuleEditor, put_words
from training.vapr.editors import EditRequest, Proposal
from training.vapr.kinds import list_kinds
from training.vapr.wording import split_words

_SHARED = frozenset(get_args(SharedKind))
_READ = re.compile(
    r"\b(?:says|reads|written|(?:text|word|number|writing) (?:on [\w ]+? )?is)[: ]+[\"'“]?([^\"'”.,;]+)", re.IGNORECASE
)
_COMPARED = re.compile(r"\b(more|as many) ([\w ]+?) (than|as) ([\w ]+?)(?=[.,;]|$)", re.IGNORECASE)
_OPPOSITES = (
    ("more", "fewer"), ("most", "fewest"), ("larger", "smaller"), ("bigger", "smaller"), ("taller", "shorter"),
    ("same", "different"), ("closer", "farther"), ("older", "younger"), ("before", "after"),
)  # fmt: skip
_BARE = re.compile(r"^(\s*)(yes|no)(\W*)$", re.IGNORECASE)
_DETERMINED = re.compile(r"\b(an?|one) $", re.IGNORECASE)


class RulesEditor:
    """Edits by rules. exchanges: (question, reference) of all rows. draws: texts drawn per request at most."""

    name = "rules"

    def __init__(self, exchanges: Iterable[tuple[str, str]], *, draws: int = 12) -> None:
        exchanges = list(exchanges)
        self._rules, self._draws = RuleEditor(exchanges, by_frequency=True, to_zero=True), draws
        self._read_texts: dict[bool, list[str]] = defaultdict(list)
        for _, reference in exchanges:
            for text in _READ.findall(reference):
                self._read_texts[text.isdigit()].append(text)

    def list_kinds(self, question: str, reference: str, *, most_added_words: int) -> Sequence[str]:
        """By the task; see `training.vapr.kinds`."""
        return list_kinds(question, reference, most_added_words=most_added_words)

    async def start(self) -> None:
        """Nothing to load."""

    async def edit(self, requests: Sequence[EditRequest]) -> list[Proposal]:
        """Up to `draws` different texts per request."""
        return [self._edit(request) for request in requests]

    async def close(self) -> None:
        """Nothing to free."""

    def _edit(self, request: EditRequest) -> Proposal:
        texts: dict[str, None] = {}
        for draw in range(self._draws):
            rng = random.Random(f"{request.seed} {draw}")
            texts.update(dict.fromkeys(self._make(request, rng)))
        named = _named_in_question(request, list(texts))
        return Proposal(texts=tuple(named)) if named else Proposal(fates=("no candidate",))

    def _make(self, request: EditRequest, rng: random.Random) -> Iterator[str]:
        question, reference, kind = request.question, request.reference, request.kind
        if kind == "object":
            yield from self._name_alternative(question, reference)
        elif kind == "addition":
            yield from self._add_object(reference, rng)
        elif kind == "text":
            yield from self._read_otherwise(reference, rng)
        elif kind == "reasoning":
            yield from _conclude_otherwise(reference, rng)
        elif kind == "existence":
            bare = _BARE.match(reference)
            if bare is not None:
                yield put_words(reference, *bare.span(2), "no" if bare.group(2).lower() == "yes" else "yes")
        if kind in _SHARED:
            yield from (edit.text for edit in self._rules.edit_as(kind, question, reference, rng))  # type: ignore[arg-type]

    def _name_alternative(self, question: str, reference: str) -> Iterator[str]:
        """The answer with another object that the question names."""
        asked = [(question[n.start : n.end], n.form) for n in self._rules.find_nouns(question)]
        nouns = self._rules.find_nouns(reference)
        there = {noun.form.name for noun in nouns}
        for noun in nouns:
            for word, form in asked:
                if form.name not in there and _same_number(form, noun.form) and " or " in question:
                    yield put_words(reference, noun.start, noun.end, word.lower())

    def _add_object(self, reference: str, rng: random.Random) -> Iterator[str]:
        """One object more in a list, or beside an object at the end of a sentence."""
        other = self._rules.draw_object("singular", reference, rng)
        places = []
        for noun in self._rules.find_nouns(reference):
            before = _DETERMINED.search(reference[: noun.start])
            if before is None:
                continue
            after = reference[noun.end :]
            sentence = re.split(r"[.!?]", reference[: noun.end])[-1]
            link = ", " if after.startswith((",", " and ")) else " and "
            if link == ", " or (re.match(r"[.!]|$", after) and " and " not in sentence):
                places.append((noun.end, link, before.group(1).lower()))
        if other is not None and places:
            end, link, article = rng.choice(places)
            article = article if article == "one" else "an" if other[0] in "aeiou" else "a"
            yield f"{reference[:end]}{link}{article} {other}{reference[end:]}"

    def _read_otherwise(self, reference: str, rng: random.Random) -> Iterator[str]:
        found = _READ.search(reference)
        if found is not None:
            read = found.group(1)
            others = [text for text in self._read_texts[read.isdigit()] if text.lower() != read.lower()]
            if others:
                yield reference[: found.start(1)] + rng.choice(others) + reference[found.end(1) :]


def _conclude_otherwise(reference: str, rng: random.Random) -> Iterator[str]:
    """A comparison turned round or made equal, or a word of comparison turned into its opposite."""
    compared = _COMPARED.search(reference)
    if compared is not None:
        how, one, _, other = compared.groups()
        ways = [f"more {one} than {other}", f"more {other} than {one}", f"as many {one} as {other}"]
        is_equal = how.lower() == "as many"
        ways = ways[:2] if is_equal else ways[1:]
        yield reference[: compared.start()] + rng.choice(ways) + reference[compared.end() :]
        return
    for pair in _OPPOSITES:
        for word, opposite in (pair, pair[::-1]):
            found = re.search(rf"\b{word}\b", reference, re.IGNORECASE)
            if found is not None:
                yield put_words(reference, *found.span(), opposite)


def _same_number(one: Form, other: Form) -> bool:
    return one.number == other.number or "either" in (one.number, other.number)


def _named_in_question(request: EditRequest, texts: Sequence[str]) -> list[str]:
    """The texts that say nothing new but what the question names, if there are any; else all."""
    if " or " not in request.question:
        return list(texts)
    asked, told = set(split_words(request.question.lower())), set(split_words(request.reference.lower()))
    new = {text: set(split_words(text.lower())) - told - {"a", "an"} for text in texts}
    return [text for text in texts if new[text] <= asked] or list(texts)
