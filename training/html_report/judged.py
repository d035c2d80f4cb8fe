"""Examples of judged pairs whose better response is known: wrong verdicts first, the surest of them at the top.

Then come ties and abstentions, then right verdicts, the least sure first.
"""

from collections.abc import Callable, Mapping, Sequence

from genrm.types import Verdict
from training.evaluation.scoring import Outcome, score
from training.html_report.cases import Case, Group, Said, allot
from training.sources import Pair

QUOTAS = (12, 4, 4)
"""Of wrong, undecided and right ones."""

AGREEMENT = {True: "yes", False: "no", None: "not known"}
"""Whether both orders prefer the same response, in words."""

Facts = Callable[[int], Mapping[str, str]]
"""More facts about the pair at a place."""


def choose_judged(pairs: Sequence[Pair], verdicts: Sequence[Verdict], more: Facts | None = None) -> list[Group]:
    """The groups of a page. pairs, verdicts: in the same order. more: facts that only this kind of run knows."""
    scores = [score(pair, verdict) for pair, verdict in zip(pairs, verdicts, strict=True)]
    sureness = [_top(verdict) for verdict in verdicts]
    kinds = _sort(scores, sureness)
    undecided = [verdicts[place] for place in kinds[1]]
    ties = sum(verdict.status == "tie" for verdict in undecided)
    readings = [reading for verdict in verdicts for reading in verdict.readings]
    unparsed = sum(reading.probabilities is None for reading in readings)
    note = f"{ties:,} ties, {len(undecided) - ties:,} abstentions; {unparsed:,} of {len(readings):,} readings unparsed"

    def make(place: int) -> Case:
        return make_case(pairs[place], verdicts[place], more(place) if more else {})

    return _fill(kinds, make, note)


def choose_outcomes(judged: Sequence[tuple[Pair, Outcome]]) -> list[Group]:
    """The same of outputs that somebody else published: there are votes, and no texts of the judge."""
    kinds = _sort([outcome.verdict for _, outcome in judged], [_lead(outcome) for _, outcome in judged])

    def make(place: int) -> Case:
        pair, outcome = judged[place]
        votes = [*outcome.given, *outcome.exchanged]
        return Case(
            id=pair.id,
            outcome=_describe(pair, _prefers(pair, outcome.verdict), abstained=outcome.verdict is None),
            question=pair.question,
            said=_say(pair, _prefers(pair, outcome.verdict)),
            load_images=pair.load_images,
            facts=_group(pair)
            | {
                "Votes for the better response": f"{sum(vote == 1 for vote in votes)} of {len(votes)}",
                "Unparsed votes": str(sum(vote is None for vote in votes)),
                "Both orders agree": AGREEMENT[outcome.consistent],
            },
        )

    return _fill(kinds, make, "no majority")


def make_case(pair: Pair, verdict: Verdict, more: Mapping[str, str]) -> Case:
    """The example of one pair and its verdict."""
    return Case(
        id=pair.id,
        outcome=_describe(pair, verdict.preferred, abstained=verdict.status == "abstained", reason=verdict.reason),
        question=pair.question,
        said=_say(pair, verdict.preferred),
        load_images=pair.load_images,
        facts=_group(pair) | describe_verdict(verdict) | dict(more),
        probabilities=verdict.probabilities,
        readings=verdict.readings,
        critique=verdict.critique,
        evidence=verdict.evidence,
        notes=(*(["The experts support the other response clearly better."] if verdict.expert_conflict else []),
               *verdict.warnings),
    )  # fmt: skip


def describe_verdict(verdict: Verdict, names: tuple[str, str] = ("A", "B")) -> dict[str, str]:
    """The figures of a verdict beside its probabilities, by name. names: what A and B are."""
    return show_margin(verdict.margin, names) | {
        "Label mass": f"{verdict.label_mass:.3f}",
        "Both orders agree": AGREEMENT[verdict.consistent],
    }


def show_margin(margin: float | None, names: tuple[str, str] = ("A", "B")) -> dict[str, str]:
    """A margin as a fact; nothing for none. names: what A and B are."""
    if margin is None:
        return {}
    return {f"Margin P({names[0]}) − P({names[1]})": f"{margin:+.3f}".replace("-", "−")}


def _sort(scores: Sequence[float | None], sureness: Sequence[float]) -> tuple[list[int], list[int], list[int]]:
    """Places of wrong, undecided and right ones, each in the order in which they are shown."""
    places = range(len(scores))
    wrong = sorted((i for i in places if scores[i] == 0.0), key=lambda i: -sureness[i])
    undecided = sorted((i for i in places if scores[i] in (0.5, None)), key=lambda i: scores[i] is None)
    right = sorted((i for i in places if scores[i] == 1.0), key=lambda i: sureness[i])
    return wrong, undecided, right


def _fill(kinds: tuple[list[int], list[int], list[int]], make: Callable[[int], Case], note: str) -> list[Group]:
    wrong, undecided, right = kinds
    taken = allot([len(kind) for kind in kinds], QUOTAS)
    shown = [[make(place) for place in kind[:num]] for kind, num in zip(kinds, taken, strict=True)]
    return [
        Group(title="Wrong", tone="bad", num=len(wrong), cases=shown[0], note="the surest first"),
        Group(title="Undecided", tone="open", num=len(undecided), cases=shown[1], note=note),
        Group(title="Right", tone="good", num=len(right), cases=shown[2], note="the least sure first"),
    ]


def _describe(pair: Pair, preferred: str | None, *, abstained: bool, reason: str | None = None) -> str:
    if preferred is None:
        what = f"No verdict ({reason})" if abstained and reason else "No verdict" if abstained else "A tie"
        return f"{what}; {pair.label} is labelled better"
    if preferred == pair.label:
        return f"Prefers {preferred}, as labelled"
    return f"Prefers {preferred}, but {pair.label} is labelled better"


def _say(pair: Pair, preferred: str | None) -> tuple[Said, ...]:
    return tuple(
        Said(
            name=f"Response {name}",
            text=text,
            marks=tuple(
                mark for mark, holds in (("labelled better", pair.label == name), ("preferred", preferred == name))
                if holds
            ),
        )
        for name, text in (("A", pair.response_a), ("B", pair.response_b))
    )  # fmt: skip


def _group(pair: Pair) -> dict[str, str]:
    return {"Group": pair.group} if pair.group else {}


def _prefers(pair: Pair, value: float | None) -> str | None:
    if value in (None, 0.5):
        return None
    return pair.label if value == 1.0 else ("B" if pair.label == "A" else "A")


def _top(verdict: Verdict) -> float:
    return 0.0 if verdict.probabilities is None else max(verdict.probabilities.A, verdict.probabilities.B)


def _lead(outcome: Outcome) -> float:
    """How far apart the votes for both responses are, as a share of all."""
    votes = [vote for vote in (*outcome.given, *outcome.exchanged) if vote is not None]
    return abs(2 * sum(votes) / len(votes) - 1) if votes else 0.0
