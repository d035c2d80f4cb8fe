"""What an example of a page shows, whatever kind of run it is of, and how many of each group are chosen.

Groups stand in the order in which a reader wants them: what went wrong, what was left open, what went well. Each has a
quota, so that a judge with many errors still shows what it does right; places that a group cannot fill go to the
others, first ones first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from PIL.Image import Image

from genrm.types import EvidencePair, Probabilities, Reading

NUM_CASES = 20
Tone = Literal["bad", "open", "good"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """One text of an example. name: whose it is. marks: what is known of it, e.g. "labelled better"."""

    name: str
    text: str
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """A table of an example. rows: as many cells as heads; the first one names the row."""

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One example. outcome: what happened, in a sentence. facts: figures by name, as they are shown.

    probabilities, readings, evidence: of the verdict, as far as they were kept; critique: of the verdict, where no
    readings were kept. names: what A and B are, for headings.
    """

    id: str
    outcome: str
    question: str
    said: tuple[Said, ...]
    load_images: Callable[[], Sequence[Image]] = field(repr=False)
    facts: Mapping[str, str] = field(default_factory=dict)
    probabilities: Probabilities | None = None
    readings: tuple[Reading, ...] = ()
    critique: str = ""
    evidence: EvidencePair = field(default_factory=EvidencePair)
    names: tuple[str, str] = ("A", "B")
    notes: tuple[str, ...] = ()
    listing: Listing | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Examples of one outcome. num: how many there are in the whole run. note: more about these."""

    title: str
    tone: Tone
    num: int
    cases: Sequence[Case] = ()
    note: str = ""


def allot(sizes: Sequence[int], quotas: Sequence[int]) -> list[int]:
    """How many of each group are shown. sizes: how many there are. quotas: how many are meant; their sum is never
    exceeded, and reached if there are enough.
    """
    given = [min(size, quota) for size, quota in zip(sizes, quotas, strict=True)]
    left = sum(quotas) - sum(given)
    for place, size in enumerate(sizes):
        more = min(left, size - given[place])
        given[place] += more
        left -= more
    return given
