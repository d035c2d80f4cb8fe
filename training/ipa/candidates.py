"""The candidates of an item: all answers that were drawn, and each different one once.

Two answers that differ in case, punctuation or spaces only are one candidate. It belongs to where it came up first:
normal samples, then contrastive ones, then revisions. Pass rates count answers, pairs are made of candidates.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from training.preferences.repetition import words_of

Source = Literal["initial", "contrastive", "revised"]
SOURCES: tuple[Source, ...] = ("initial", "contrastive", "revised")


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One text that a model wrote. generator: number of who answered first, from 1; 0 for a revision.

    perturbation: of a contrastive answer. of, feedback: of a revision, the response before and what was said of it.
    """

    text: str
    source: Source
    fate: str
    generator: int = 0
    perturbation: str = ""
    of: str = ""
    feedback: str = ""

    @property
    def key(self) -> str:
        """What is the same for two answers that say the same."""
        return key_of(self.text)


def key_of(text: str) -> str:
    """The words of a text; of one without words, the text."""
    return words_of(text) or text.strip()


def first_of_each(texts: Iterable[str]) -> list[str]:
    """The texts that say something else than those before."""
    return list({key_of(text): text for text in reversed(list(texts))}.values())[::-1]


def answers_of(item_id: str, sampled: Sequence[Mapping[str, Any]], revised: Mapping[str, Any]) -> Iterator[Answer]:
    """All answers of an item, by source. sampled: a line per generator; revised: the reviser's line."""
    drawn = [
        Answer(
            text=answer["text"],
            source="contrastive" if answer["perturbation"] else "initial",
            fate=answer["fate"],
            generator=number,
            perturbation=answer["perturbation"] or "",
        )
        for number, line in enumerate(sampled, 1)
        for answer in line.get(item_id, ())
    ]
    yield from sorted(drawn, key=lambda answer: SOURCES.index(answer.source))
    for answer in revised.get(item_id, ()):
        yield Answer(
            text=answer["text"],
            source="revised",
            fate=answer["fate"],
            of=answer["of"],
            feedback=answer["feedback"],
        )


def candidates_of(answers: Iterable[Answer]) -> list[Answer]:
    """The answers whose form is all right, each different one once, where it came up first."""
    found: dict[str, Answer] = {}
    for answer in answers:
        if answer.fate == "kept":
            found.setdefault(answer.key, answer)
    return list(found.values())
