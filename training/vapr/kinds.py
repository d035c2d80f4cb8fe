"""Which kind of error fits a question and its reference, and which of them is made next.

The kinds follow SugarCrepe (arXiv 2306.14610), with existence, texts that are read and comparisons beside them. VaPR
says that the error follows the task but not how; the rules here are ours. A question that asks for one thing (how many,
which colour, where, what it says, yes or no) gets an error in that thing, for any other error would leave the question
unanswered rather than wrongly answered. Every other reference gets any kind that it has words for.
"""

import random
import re
from collections import Counter
from collections.abc import Collection
from typing import Literal, get_args

from experts.claims import find_mentions
from training.vapr.wording import strip_objects

ErrorKind = Literal["object", "attribute", "relation", "count", "swap", "addition", "existence", "text", "reasoning"]
KINDS: tuple[ErrorKind, ...] = get_args(ErrorKind)

_COUNTS = re.compile(r"\b(?:no|zero|one|two|three|four|five|six|seven|eight|nine|ten|\d{1,3})\b", re.IGNORECASE)
_COUNTED = re.compile(_COUNTS.pattern + r" [a-z]", re.IGNORECASE)
_ATTRIBUTES = re.compile(
    r"\b(?:red|orange|yellow|green|blue|purple|pink|brown|black|white|gr[ae]y|wooden|metal|plastic|glass|empty|full|open"
    r"|closed|wet|dry|old|young|large|small|big|tall|short|striped|round|square)\b",
    re.IGNORECASE,
)
_RELATIONS = re.compile(
    r"\b(?:left|right|cent(?:er|re)|upper|lower|middle|top|bottom|above|below|over|under|inside|outside|behind|beside"
    r"|near|foreground|background|in front of|next to|between)\b",
    re.IGNORECASE,
)
_EXISTENCE = re.compile(r"\bthere (?:is|are) (?:no|an?|any|some)\b|\bno \w+ (?:is|are) visible\b", re.IGNORECASE)
_COMPARISONS = re.compile(
    r"\b(?:more|fewer|less|most|fewest|least|as many|as much|\w+er than|same|different|because|therefore|since|so that"
    r"|which means)\b",
    re.IGNORECASE,
)
_READING = re.compile(r"\b(?:say|says|said|read|reads|written|writing|label(?:led)?|spell(?:ed|t)?)\b", re.IGNORECASE)
_READ = re.compile(
    r"\b(?:says|reads|written|labelled)\b|\b(?:text|writing|word) (?:on .+ )?is\b|[\"“'][^\"”']+[\"”']|\b[A-Z]{3,}\b"
)
_YES_NO = re.compile(r"\s*(yes|no)\b", re.IGNORECASE)
_ASKS_FOR: tuple[tuple[re.Pattern[str], ErrorKind], ...] = (
    (re.compile(r"\bhow many\b|\bcount the\b|\bnumber of\b", re.IGNORECASE), "count"),
    (re.compile(r"\b(?:what|which) colou?r\b", re.IGNORECASE), "attribute"),
    (
        re.compile(r"\bwhere\b|\bwhich (?:part|side|corner)\b|\b(?:left|above|behind)\b.* or ", re.IGNORECASE),
        "relation",
    ),
    (re.compile(r"\b(?:more|fewer|less)\b|\bcompare\b|\bwhy\b", re.IGNORECASE), "reasoning"),
    (_READING, "text"),
)
_WORDS_OF_ADDITION = 3
"""An object takes this many words to add: "and a cat"."""


def read_yes_no(text: str) -> Literal["yes", "no"] | None:
    """The word that an answer to a yes-or-no question begins with; None if it begins otherwise."""
    found = _YES_NO.match(text)
    return None if found is None else "yes" if found.group(1).lower() == "yes" else "no"


def list_kinds(question: str, reference: str, *, most_added_words: int = 0) -> list[ErrorKind]:
    """The kinds of error that fit, in the order of `KINDS`; at least one.

    most_added_words: how much longer an edit of this reference may be; an object is only added where it fits.
    """
    supported = _supported(reference, most_added_words)
    if read_yes_no(reference) is not None and {"existence"} & supported:
        return ["existence"]
    for pattern, kind in _ASKS_FOR:
        if pattern.search(question) and (kind in supported or (kind == "reasoning" and supported)):
            named = {kind} & supported or supported - {"addition", "existence"}
            return [kind for kind in KINDS if kind in named] or ["object"]
    return [kind for kind in KINDS if kind in supported] or ["object"]


def _supported(reference: str, most_added_words: int) -> set[ErrorKind]:
    """The kinds that a reference has words for."""
    names = find_mentions(reference)
    has_attribute = bool(_ATTRIBUTES.search(strip_objects(reference)))
    has_relation, has_comparison = bool(_RELATIONS.search(reference)), bool(_COMPARISONS.search(reference))
    numbers = {number.lower() for number in _COUNTS.findall(reference)}
    found: dict[ErrorKind, bool] = {
        "object": bool(names),
        "attribute": has_attribute,
        "relation": has_relation,
        "count": bool(_COUNTED.search(reference)),
        "swap": len(names) > 1 and (has_attribute or has_relation or has_comparison or len(numbers) > 1),
        "addition": bool(names) and most_added_words >= _WORDS_OF_ADDITION,
        "existence": bool(_EXISTENCE.search(reference)) or _is_bare(reference),
        "text": bool(_READ.search(reference)),
        "reasoning": has_comparison,
    }
    return {kind for kind, applies in found.items() if applies}


def _is_bare(reference: str) -> bool:
    """Whether an answer is yes or no and nothing else."""
    return read_yes_no(reference) is not None and len(re.findall(r"\w+", reference)) == 1


class KindChooser:
    """Chooses the kind that was accepted least so far, at random among equals. counts: pairs so far, by kind."""

    def __init__(self, counts: Counter[str] | None = None) -> None:
        self.counts: Counter[str] = Counter() if counts is None else counts

    def choose(self, applicable: Collection[str], tried: Collection[str], rng: random.Random) -> str:
        """One of the applicable kinds (at least one); kinds that were tried come after those that were not."""
        order = sorted(applicable)
        rng.shuffle(order)
        return min(order, key=lambda kind: (kind in tried, self.counts[kind]))
