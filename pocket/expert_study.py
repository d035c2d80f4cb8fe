"""What vision experts are worth to a filter and to a judge, and how many mistakes of theirs either bears.

On comparisons about hallucinated objects, whose truth is known, three readers decide: the judge alone, the judge with
the experts' findings in its prompt, and the experts alone. Misses and false alarms are then injected at growing rates
(`experts.noisy`). The filter is VL-GenRM's: a response with a claim that the experts do not bear out counts as
hallucinated. Every condition sees the same comparisons, so differences have paired intervals.

Run: `vl-genrm pocket study-experts --output docs/studies`.
"""

import asyncio
import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experts.contract import Expert, Inquiry
from experts.noisy import NoisyExpert
from experts.panel import ExpertPanel
from genrm.engines.contract import Engine
from genrm.evidence import ExpertUse
from genrm.judge import JudgeOptions
from genrm.plots import draw_lines
from genrm.types import Detection, Verdict
from pocket.exchanges import Group
from pocket.expert_bench import PAIR_KINDS
from pocket.rows import make_row
from pocket.scenes import Split
from pocket.training_source import to_pair
from training.evaluation.hallucination import score_experts
from training.evaluation.judges import LocalJudge
from training.evaluation.judging import open_judging
from training.evaluation.scoring import score
from training.evaluation.setup import keep_judged
from training.sources import Pair
from training.statistics import Estimate, bootstrap_difference, share_with_interval

MISS_RATES = (0.0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
FALSE_ALARM_RATES = (0.0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
_NOT_BORNE_OUT = ("unsupported", "contradicted")


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """Rates of injected mistakes, each in [0, 1]."""

    miss_rate: float = 0.0
    false_alarm_rate: float = 0.0


CONDITIONS = tuple(
    dict.fromkeys(
        [Condition(miss_rate=rate) for rate in MISS_RATES]
        + [Condition(false_alarm_rate=rate) for rate in FALSE_ALARM_RATES]
    )
)


class RememberingExpert:
    """Asks `expert` about each picture and phrases only once, since every condition asks the same."""

    def __init__(self, expert: Expert) -> None:
        self.name, self.model, self.reliability = expert.name, expert.model, expert.reliability
        self.vocabulary, self.batch_size, self.covers = expert.vocabulary, expert.batch_size, expert.covers
        self._expert = expert
        self._known: dict[tuple[bytes, tuple[str, ...]], tuple[Detection, ...]] = {}

    def detect(self, inquiries: Sequence[Inquiry]) -> list[tuple[Detection, ...]]:
        """As the expert inside."""
        keys = [(hashlib.sha256(inquiry.image.tobytes()).digest(), inquiry.phrases) for inquiry in inquiries]
        new = [i for i, key in enumerate(keys) if key not in self._known]
        found = self._expert.detect([inquiries[i] for i in new]) if new else []
        self._known |= {keys[i]: detections for i, detections in zip(new, found, strict=True)}
        return [self._known[key] for key in keys]


def hallucination_pairs(num_pairs: int, *, seed: int) -> list[Pair]:
    """Held-out comparisons whose wrong response differs by an object: the hallucination group, and counts."""
    kinds = (to_pair(make_row(Split.HELD_OUT, index, seed=seed)) for index in itertools.count())
    wanted = (pair for pair in kinds if pair.group == Group.HALLUCINATION or pair.record["kind"] in PAIR_KINDS)
    return list(itertools.islice(wanted, num_pairs))


def run_study(
    engine: Engine, expert: Expert, folder: Path, *, num_pairs: int, num_noisy: int, seed: int
) -> dict[str, object]:
    """All figures, JSON-ready. num_pairs: comparisons without noise; num_noisy: the first of them, per noisy condition.

    folder: keeps every verdict, from which a killed study goes on. Shares are of right decisions, ties counting one
    half, with 95 % intervals.
    """
    return asyncio.run(
        _run(engine, RememberingExpert(expert), folder, num_pairs=num_pairs, num_noisy=num_noisy, seed=seed)
    )


async def _run(
    engine: Engine, expert: Expert, folder: Path, *, num_pairs: int, num_noisy: int, seed: int
) -> dict[str, object]:
    pairs = hallucination_pairs(num_pairs, seed=seed)

    async def read(name: str, num: int, use: ExpertUse, panel: ExpertPanel | None = None) -> list[Verdict]:
        judging = open_judging(LocalJudge(engine, panel=panel), JudgeOptions(experts=use), folder / name)
        _, (verdicts,) = keep_judged(pairs[:num], await judging.verdicts(pairs[:num], title=name))
        return verdicts

    await engine.start()
    try:
        alone = await read("alone", num_pairs, "off")
        conditions = []
        for condition in CONDITIONS:
            num = num_pairs if condition == Condition() else num_noisy
            panel = ExpertPanel([NoisyExpert(expert, **asdict(condition), seed=seed)], timeout_seconds=300)
            name = f"misses-{condition.miss_rate}-false-alarms-{condition.false_alarm_rate}"
            helped = await read(name, num, "prompt", panel)
            panel.close()
            conditions.append(asdict(condition) | compare_readers(pairs[:num], alone[:num], helped))
        return {"model": engine.model, "expert": expert.model, "seed": seed, "conditions": conditions}
    finally:
        await engine.close()


def compare_readers(pairs: Sequence[Pair], alone: Sequence[Verdict], helped: Sequence[Verdict]) -> dict[str, object]:
    """How often judge, judge with evidence, experts and filter were right on the same comparisons.

    helped: verdicts with evidence. `gain` is the difference that evidence makes to the judge, `gain_hallucination` the
    same within that group; with 95 % bootstrap intervals over comparisons.
    """
    judge_alone = [score(pair, verdict) or 0.0 for pair, verdict in zip(pairs, alone, strict=True)]
    judge_helped = [score(pair, verdict) or 0.0 for pair, verdict in zip(pairs, helped, strict=True)]
    told = (score_experts(pair, verdict) for pair, verdict in zip(pairs, helped, strict=True))
    experts = [value for value in told if value is not None]  # without those that failed
    caught, dropped = zip(*(_filter(pair, verdict) for pair, verdict in zip(pairs, helped, strict=True)), strict=True)
    in_group = [i for i, pair in enumerate(pairs) if pair.group == Group.HALLUCINATION]
    right = sum(caught) + len(pairs) - sum(dropped)
    return {
        "judge": share_with_interval(sum(judge_alone), len(pairs)),
        "judge_with_evidence": share_with_interval(sum(judge_helped), len(pairs)),
        "gain": bootstrap_difference(judge_helped, judge_alone),
        "gain_hallucination": bootstrap_difference(
            [judge_helped[i] for i in in_group], [judge_alone[i] for i in in_group]
        ),
        "experts": share_with_interval(sum(experts), len(experts)),
        "filter": share_with_interval(right, 2 * len(pairs)),
        "filter_catches_wrong": share_with_interval(sum(caught), len(pairs)),
        "filter_drops_right": share_with_interval(sum(dropped), len(pairs)),
    }


def _filter(pair: Pair, verdict: Verdict) -> tuple[bool, bool]:
    """Whether the wrong response is seen to hallucinate, and whether the right one is."""
    a, b = (any(item.finding in _NOT_BORNE_OUT for item in part) for part in (verdict.evidence.A, verdict.evidence.B))
    return (b, a) if pair.label == "A" else (a, b)


def save_study(report: dict[str, Any], folder: Path) -> list[Path]:
    """Write `experts.json`, and for misses and for false alarms a plot of all readers; return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "experts.json"]
    written[0].write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for rate, other, label in (
        ("miss_rate", "false_alarm_rate", "injected misses, share of objects overlooked"),
        ("false_alarm_rate", "miss_rate", "injected false alarms, share of names with one too many"),
    ):
        rows = [row for row in report["conditions"] if row[other] == 0]
        series: dict[str, list[tuple[float, Estimate]]] = {
            name: [(row[rate], row[key]) for row in rows]
            for name, key in (
                ("judge alone", "judge"),
                ("judge reading evidence", "judge_with_evidence"),
                ("experts alone", "experts"),
                ("filter", "filter"),
            )
        }
        path = folder / f"experts-{rate.replace('_rate', '').replace('_', '-')}.png"
        draw_lines(
            series, path, xlabel=label, ylabel="share of right decisions", title="Hallucinated objects and counts"
        )
        written.append(path)
    return written
