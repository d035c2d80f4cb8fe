"""Examples of Best-of-N: questions where the chosen candidate is furthest below the best one come first."""

from collections.abc import Sequence
from dataclasses import dataclass

from genrm.types import Verdict
from training.html_report.cases import Case, Group, Listing, Said, allot
from training.html_report.judged import describe_verdict
from training.html_report.visible import shorten
from training.sources import Example

QUOTAS = (16, 4)
_MAX_CANDIDATE_CHARS = 600


@dataclass(frozen=True, kw_only=True, slots=True)
class RankedQuestion:
    """A question whose candidates were ranked. chosen: place of the one that `strategy` took.

    chances: by candidate, how probably it beats another one. verdict: of the chosen one and the best one, the earlier
    of them as A; None if these two were never judged.
    """

    example: Example
    texts: Sequence[str]
    qualities: Sequence[float]
    strategy: str
    chosen: int
    chances: Sequence[float]
    verdict: Verdict | None

    @property
    def best(self) -> int:
        """Place of the best candidate: the chosen one if none is better, else the first of the best."""
        top = max(self.qualities)
        return self.chosen if self.qualities[self.chosen] == top else list(self.qualities).index(top)

    @property
    def gap(self) -> float:
        """How far the chosen candidate's quality is below the best one's."""
        return self.qualities[self.best] - self.qualities[self.chosen]


def choose_ranked(questions: Sequence[RankedQuestion]) -> list[Group]:
    """The groups of a page: below the best, widest gap first, and as good as the best."""
    below = sorted((each for each in questions if each.gap > 0), key=lambda each: -each.gap)
    level = [each for each in questions if each.gap <= 0]
    num_below, num_level = allot([len(below), len(level)], QUOTAS)
    return [
        Group(
            title="Below the best",
            tone="bad",
            num=len(below),
            cases=[_make_case(each) for each in below[:num_below]],
            note="the furthest below first",
        ),
        Group(
            title="As good as the best",
            tone="good",
            num=len(level),
            cases=[_make_case(each) for each in level[:num_level]],
        ),
    ]


def _make_case(question: RankedQuestion) -> Case:
    chosen, best = question.chosen, question.best
    said: tuple[Said, ...]
    if chosen == best:
        outcome = f"Chose candidate {chosen + 1}; none is better"
        said = (_say(question, chosen, "picked", "none is better"),)
    else:
        outcome = f"Chose candidate {chosen + 1}; candidate {best + 1} is better by {question.gap:.3f}"
        said = (_say(question, chosen, "picked"), _say(question, best, "best"))
    verdict, (a, b) = question.verdict, sorted((chosen, best))
    facts = {
        "Quality of the chosen": f"{question.qualities[chosen]:.3f}",
        "Quality of the best": f"{question.qualities[best]:.3f}",
        "Strategy": question.strategy,
    }
    if verdict is not None:
        facts |= describe_verdict(verdict, (str(a + 1), str(b + 1)))
    return Case(
        id=question.example.id,
        outcome=outcome,
        question=question.example.question,
        said=said,
        load_images=question.example.load_images,
        facts=facts,
        probabilities=verdict.probabilities if verdict is not None else None,
        readings=verdict.readings if verdict is not None else (),
        critique=verdict.critique if verdict is not None else "",
        names=(f"Candidate {a + 1}", f"Candidate {b + 1}"),
        listing=_list_candidates(question),
    )


def _say(question: RankedQuestion, place: int, *marks: str) -> Said:
    return Said(name=f"Candidate {place + 1}", text=question.texts[place], marks=marks)


def _list_candidates(question: RankedQuestion) -> Listing:
    order = sorted(range(len(question.texts)), key=lambda place: (-question.chances[place], place))
    return Listing(
        caption=f"All {len(order)} candidates, as {question.strategy} ranks them",
        heads=("Candidate", "Text", "Chance to beat another", "Quality"),
        rows=tuple(
            (
                str(place + 1),
                shorten(question.texts[place], _MAX_CANDIDATE_CHARS),
                f"{question.chances[place]:.3f}",
                f"{question.qualities[place]:.3f}",
            )
            for place in order
        ),
    )
