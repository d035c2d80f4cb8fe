"""Extra yes-or-no questions, answered yes as often as no, so that a policy does not learn to say one of them.

VaPR reports less "Yes" bias on binary questions; how its set is balanced is not published, so this is ours. Asked for
are objects that the reference names (yes) or denies (no), and, where experts look, objects of other rows that neither
the reference nor the question speaks of (no). Which of the two comes next is what was chosen less often so far, answers
of the source itself included. The answers are worded as the source words its own.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import Field

from experts.claims import extract_claims, find_mentions
from experts.lexicon import default_lexicon
from training.jobs.config import Section
from training.vapr.kinds import read_yes_no

DEFAULT_STYLE = "{word}, {there}."
_ANSWER = re.compile(
    r"^\s*(?:yes|no)\b(?P<link>[^\w]*(?:[^.!?]*?\s)?)there (?:is|are) (?:no|an?|any|some)\b (?P<rest>.+)$",
    re.IGNORECASE,
)
_BARE = re.compile(r"^\s*(?:yes|no)(?P<end>[.!]?)\s*$", re.IGNORECASE)
_DRAWS = 8


class YesNo(Section):
    """Extra yes-or-no questions."""

    share: float = Field(0.2, ge=0, le=1, description="Share of the source rows that get one more question.")


@dataclass(frozen=True, kw_only=True, slots=True)
class BinaryPair:
    """A question with both answers. name: the object. is_said: whether the reference itself decides the answer."""

    name: str
    question: str
    chosen: str
    rejected: str
    is_said: bool


class YesNoMaker:
    """Makes them. exchanges: (question, reference) of all rows. with_experts: also about objects of other rows."""

    def __init__(self, exchanges: Iterable[tuple[str, str]], *, with_experts: bool) -> None:
        self._with_experts = with_experts
        self._styles: Counter[str] = Counter()
        self._names: Counter[str] = Counter()
        for _, reference in exchanges:
            style = learn_style(reference)
            if style is not None:
                self._styles[style] += 1
            self._names.update(claim.name for claim in extract_claims(reference) if claim.polarity == "affirmed")

    def list_pairs(self, question: str, reference: str, *, is_yes: bool, rng: random.Random) -> list[BinaryPair]:
        """Pairs about different objects whose right answer is yes or no, as asked; none if nothing is known."""
        claims = extract_claims(reference)
        asked = set(find_mentions(question))
        if is_yes:
            said = [c.name for c in claims if c.polarity == "affirmed"]
            others: list[str] = []
        else:
            said = [c.name for c in claims if c.polarity == "denied" and not c.is_narrower]
            spoken = asked | {claim.name for claim in claims}
            free = sorted(name for name in self._names if name not in spoken) if self._with_experts else []
            others = rng.choices(free, [self._names[n] for n in free], k=_DRAWS) if free else []
        pairs = [self._pair(name, is_yes=is_yes, is_said=True, rng=rng) for name in said if name not in asked]
        return pairs + [self._pair(name, is_yes=is_yes, is_said=False, rng=rng) for name in dict.fromkeys(others)]

    def _pair(self, name: str, *, is_yes: bool, is_said: bool, rng: random.Random) -> BinaryPair:
        styles = sorted(self._styles) or [DEFAULT_STYLE]
        style = rng.choices(styles, [self._styles[s] or 1 for s in styles])[0]
        verb, one = _with_article(name)
        yes = _fill(style, "Yes", f"there {verb} {one}")
        no = _fill(style, "No", f"there {verb} no {name}")
        return BinaryPair(
            name=name,
            question=f"{verb.capitalize()} there {one} in the image?",
            chosen=yes if is_yes else no,
            rejected=no if is_yes else yes,
            is_said=is_said,
        )


def learn_style(reference: str) -> str | None:
    """How a reference words the answer to a yes-or-no question, as a template; None if it is no such answer.

    Learned are bare answers and those that say that there is or is no object, and nothing of a second one.
    """
    if read_yes_no(reference) is None:
        return None
    word = "{word}" if reference.lstrip()[0].isupper() else "{small_word}"
    bare = _BARE.match(reference)
    if bare is not None:
        return word + bare["end"]
    answer = _ANSWER.match(reference)
    names = find_mentions(reference)
    if answer is None or len(names) != 1 or "{" in reference:
        return None
    end = _end_of_object(answer["rest"], names[0])
    return None if end is None else f"{word}{answer['link']}{{there}}{answer['rest'][end:]}"


def _end_of_object(text: str, name: str) -> int | None:
    """Where the object's words end that a text begins with."""
    for found in re.finditer(r"\w+", text):
        if default_lexicon().canonical_name(text[: found.end()]) == name:
            return found.end()
    return None


def list_objects(references: Iterable[str]) -> list[str]:
    """The objects that any of the references says are there, each with its article, in alphabetical order."""
    names = {c.name for text in references for c in extract_claims(text) if c.polarity == "affirmed"}
    return [_with_article(name)[1] for name in sorted(names)]


def _fill(style: str, word: str, there: str) -> str:
    return style.format(word=word, small_word=word.lower(), there=there)


def _with_article(name: str) -> tuple[str, str]:
    """The verb and the object with its article: is, a dog; are, scissors."""
    form = default_lexicon().find_phrase(name)
    if form is not None and form.number == "either" and name.endswith("s"):
        return "are", name
    return "is", f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def choose_word(counts: Counter[str], rng: random.Random) -> bool:
    """Whether the next answer should be yes: the word that was chosen less often so far, at random if equal."""
    difference = counts["yes"] - counts["no"]
    return difference < 0 or (difference == 0 and rng.random() < 0.5)


def count_words(chosen: Sequence[str]) -> Counter[str]:
    """How many chosen answers begin with yes and no."""
    return Counter(word for word in map(read_yes_no, chosen) if word is not None)
