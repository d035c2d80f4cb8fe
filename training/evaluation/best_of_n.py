"""Best-of-N: how good the response is that the judge picks out of the first N, for N = 1, 2, 4, 8, 16.

Beside the mean quality it says how often the best candidate (or one as good) was chosen.

A row has a question, pictures and `candidates`, each a `text` and its known `quality` (1 right, 0 wrong, or anything
between). Three lines need no judge: the first candidate, a random one (the mean), and the best there is (oracle). Each
strategy of `genrm.ranking` is a line of its own, with the judgements it took; a judgement covers both orders, and
none is made twice, so smaller N and the knockout cost nothing after all pairs of the largest N.

Run: `vl-genrm eval best-of-n 'pocket:held-out?n=100&candidates=16' --output results`.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tqdm import tqdm

from genrm.plots import draw_lines
from genrm.ranking import Ranking, Strategy, rank
from training.evaluation.judging import Judging, gather_or_cancel, without_images
from training.evaluation.report import Report
from training.evaluation.setup import Setup
from training.html_report.cases import Group
from training.html_report.evaluated import leave_report_page
from training.html_report.ranked import RankedQuestion, choose_ranked
from training.sources import Example, Pair, RowError, Skipped, log_skipped, read_examples
from training.statistics import bootstrap_difference, bootstrap_mean, share_with_interval
from training.tables import SourceError

SIZES = (1, 2, 4, 8, 16)


@dataclass(frozen=True, kw_only=True, slots=True)
class Contest:
    """A question with candidates. qualities: of each, higher is better."""

    example: Example
    texts: tuple[str, ...]
    qualities: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Picks:
    """Quality of what each line picks, by name, per N; and the judgements each strategy took.

    ranking: of all candidates, by the first strategy.
    """

    qualities: Mapping[int, Mapping[str, float]]
    num_judgements: Mapping[int, Mapping[str, int]]
    ranking: Ranking


async def evaluate_best_of_n(setup: Setup, *, strategies: Sequence[Strategy]) -> Report:
    """Rank and report. Rows with fewer candidates than the largest of `SIZES` that any row has are skipped."""
    contests, skipped = read_contests(setup)
    largest = max(size for size in SIZES if size <= max(len(contest.texts) for contest in contests))
    sizes = [size for size in SIZES if size <= largest]
    skipped += [
        Skipped(id=c.example.id, reason=f"it has {len(c.texts)} candidates; {largest} are needed.")
        for c in contests
        if len(c.texts) < largest
    ]
    whole = [contest for contest in contests if len(contest.texts) >= largest]
    num_expected = largest * (largest - 1) // 2 if "all_pairs" in strategies else sum(size - 1 for size in sizes)
    async with setup.judging() as judging:
        with tqdm(total=len(whole) * num_expected, desc="judge", unit="pair", smoothing=0.05) as bar:
            found = await gather_or_cancel(
                _pick(contest, judging, sizes=sizes, strategies=strategies, bar=bar) for contest in whole
            )
        report = Report(title="Best of N", settings=setup.settings(), skipped=[*skipped, *judging.skipped])
    picks = [pick for pick in found if pick is not None]
    if not picks:
        raise SourceError(f"None of the {len(contests)} questions could be judged; the log says why.")
    lines = {}
    for name in (*strategies, "first", "random", "oracle"):
        per_size = {size: [pick.qualities[size][name] for pick in picks] for size in sizes}
        lines[name] = [(float(size), bootstrap_mean(each, seed=setup.seed)) for size, each in per_size.items()]
    for position, size in enumerate(sizes):
        report.sections[f"quality, N = {size}"] = {name: points[position][1] for name, points in lines.items()}
        report.sections[f"best candidate chosen, N = {size}"] = {
            name: share_with_interval(
                sum(pick.qualities[size][name] == pick.qualities[size]["oracle"] for pick in picks), len(picks)
            )
            for name in (*strategies, "first")
        }
    report.sections[f"paired differences, N = {largest}"] = {
        f"{name} - {other}": bootstrap_difference(
            *([pick.qualities[largest][line] for pick in picks] for line in (name, other)), seed=setup.seed
        )
        for name in strategies
        for other in ("first", "random", "oracle")
    }
    report.counts = {"questions": len(picks), "candidates": largest} | {
        f"judgements per question, {name}, N = {size}": picks[0].num_judgements[size][name]  # the same for all
        for name in strategies
        for size in sizes
    }
    report.save(setup.output)
    draw_lines(
        lines,
        setup.output / "best-of-n.png",
        xlabel="candidates N",
        ylabel="quality of the chosen response",
        title=f"Best of N, {len(picks)} questions",
        log2=True,
    )

    def choose() -> list[Group]:
        judged = [(contest, pick) for contest, pick in zip(whole, found, strict=True) if pick is not None]
        return choose_ranked([_tell(contest, pick, judging) for contest, pick in judged])

    leave_report_page(report, setup.output, choose, headline=(f"best candidate chosen, N = {largest}", strategies[0]))
    return report


def read_contests(setup: Setup) -> tuple[list[Contest], list[Skipped]]:
    """Questions with at least two candidates, and the rows that are none. Raises SourceError if there is none."""
    found = read_examples(setup.source, images=setup.image_folder, limit=setup.limit)
    contests, skipped = [], list(found.skipped)
    for example in found.rows:
        try:
            texts, qualities = _read_candidates(example.record.get("candidates"))
        except RowError as error:
            skipped.append(Skipped(id=example.id, reason=str(error)))
        else:
            shown = example if setup.show_images else without_images(example)
            contests.append(Contest(example=shown, texts=texts, qualities=qualities))
    log_skipped(skipped[len(found.skipped) :])
    if not contests:
        raise SourceError(f"{setup.source} has no row with candidates; each needs texts with their quality.")
    return contests, skipped


def _read_candidates(value: Any) -> tuple[tuple[str, ...], tuple[float, ...]]:  # noqa: ANN401 - whatever a source holds
    try:
        items = json.loads(value) if isinstance(value, str) else list(value)
        texts, qualities = tuple(str(item["text"]) for item in items), tuple(float(item["quality"]) for item in items)
    except (ValueError, TypeError, KeyError):
        raise RowError("its candidates are not a list of objects with text and quality.") from None
    if len(texts) < 2:
        raise RowError(f"it has {len(texts)} candidates; at least two are needed.")
    return texts, qualities


async def _pick(
    contest: Contest, judging: Judging, *, sizes: Sequence[int], strategies: Sequence[Strategy], bar: "tqdm[Any]"
) -> _Picks | None:
    """What every line picks; None if the pictures cannot be shown to the judge."""
    asked: dict[tuple[int, int], asyncio.Task[float]] = {}

    async def judge(i: int, j: int) -> float:
        """Always with the earlier one as A."""
        verdict = await judging.verdict(_as_pair(contest, i, j))
        bar.update()
        if verdict is None:
            raise RowError("it was skipped.")
        return 0.5 if verdict.status == "abstained" or verdict.probabilities is None else verdict.probabilities.A

    async def compare(pairs: Sequence[tuple[int, int]]) -> list[float]:
        """Each pair is judged once, whoever asks."""
        for pair in pairs:
            if pair not in asked:
                asked[pair] = asyncio.ensure_future(judge(*pair))
        return await asyncio.gather(*(asked[pair] for pair in pairs))

    qualities: dict[int, dict[str, float]] = {}
    num_judgements: dict[int, dict[str, int]] = {}
    rankings: list[Ranking] = []
    try:
        for size in reversed(sizes):
            known = contest.qualities[:size]
            qualities[size] = {"first": known[0], "random": sum(known) / size, "oracle": max(known)}
            num_judgements[size] = {}
            for strategy in strategies:
                ranking = await rank(size, compare, strategy=strategy)
                rankings.append(ranking)
                qualities[size][strategy] = known[ranking.best]
                num_judgements[size][strategy] = ranking.num_judgements
    except RowError:
        return None
    finally:
        await asyncio.gather(*asked.values(), return_exceptions=True)
    return _Picks(qualities=qualities, num_judgements=num_judgements, ranking=rankings[0])


def _tell(contest: Contest, pick: _Picks, judging: Judging) -> RankedQuestion:
    """A question as the page shows it."""
    num = len(pick.ranking.scores)
    told = RankedQuestion(
        example=contest.example,
        texts=contest.texts[:num],
        qualities=contest.qualities[:num],
        strategy=pick.ranking.strategy,
        chosen=pick.ranking.best,
        chances=pick.ranking.win_probabilities(),
        verdict=None,
    )
    if told.chosen == told.best:
        return told
    return replace(told, verdict=judging.find(_as_pair(contest, *sorted((told.chosen, told.best)))))


def _as_pair(contest: Contest, i: int, j: int) -> Pair:
    """Candidates i and j of one question, the better one by its quality labelled so."""
    return Pair(
        id=contest.example.id,
        question=contest.example.question,
        response_a=contest.texts[i],
        response_b=contest.texts[j],
        label="A" if contest.qualities[i] >= contest.qualities[j] else "B",
        load_images=contest.example.load_images,
    )
