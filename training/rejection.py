"""Stage 2 of VL-GenRM: iterative margin-based rejection sampling.

A round samples K critiques per pair and order from the judge of the round before, keeps those with a high margin over
both orders (`training.margins`), fine-tunes on everything kept so far, and measures on held-out pairs. A round is
promoted only if the judge did not get worse; the job stops when the gain's 95 % interval includes zero (unless told to
go on), or after the last round. Sampled critiques, selections and measurements are on disk step by step, so that a
killed run repeats nothing and ends with the same judge.

Run: `vl-genrm train reject CONFIG`.
"""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from tqdm import tqdm

from genrm.engines.contract import Engine, Prompt, Sampling
from genrm.errors import GenRMError
from genrm.parsing import parse_verdict
from genrm.plots import draw_histogram, draw_lines
from genrm.prompts import LABELS, MARKER, render_prompt
from genrm.types import Response
from training.critiques import CRITIQUES, read_critiques
from training.engines import HARMLESS, EngineChoice, open_engine, require_probabilities
from training.faults import FAULTS, find_fault
from training.finetuning import FineTuning, fine_tune, plan_training, require_batch
from training.gold import ORDERS, gold_label, probability_of
from training.jobs.config import ConfigError, JobConfig
from training.jobs.files import read_json_lines
from training.jobs.job import Job
from training.jobs.plan import Plan, PlannedStep
from training.jobs.processes import is_first_process, wait_for
from training.jobs.run_folder import RESULT, RunFolder
from training.jobs.training_state import TrainingWatch
from training.losses import learning_weight
from training.margins import Drawn, Preference, Scored, mean_probability, passes, score_margins, select
from training.measuring import Measuring, measure, plan_measuring
from training.refusals import ask_in_parts
from training.samples import Sample, shows_evidence, to_sample
from training.sources import Pair, RowError, Skipped, count_pairs, log_skipped, read_own_pairs
from training.statistics import bootstrap_difference, share_with_interval

START = "round-0/measured"
"""Folder in which the judge to begin with is measured."""
ROUNDS = "rounds.json"
"""What every round brought, and which judge is the best."""
BEST = "best.json"
"""The judge that a job ended with, the best on the pairs that steps are measured on, as an `EngineChoice`."""
_KEPT = 0.4
"""Share of what may be kept per pair and order that is kept, for the plan."""

_log = logging.getLogger(__name__)


class AllRejectedError(GenRMError, ValueError):
    """No sampled critique was kept. The plot that the message names shows their margins; the folder takes no other
    settings, so mend it in another one.
    """


class RejectConfig(JobConfig):
    """Settings of the job."""

    harmless = HARMLESS | {"training.micro_batch_size", "training.samples_per_second"}

    pairs: str = Field(description="Labelled pairs to sample critiques for; every round takes the next ones.")
    skip_pairs: int = Field(0, ge=0, description="Leave out the first ones, e.g. those that stage 1 learned from.")
    engine: EngineChoice = Field(EngineChoice(), description="The judge to begin with, e.g. that of stage 1.")
    first_samples: Path | None = Field(
        None, description="Output folder of `train critiques` whose samples are trained on in every round as well."
    )
    rounds: int = Field(4, ge=1, description="Rounds at most.")
    stop_early: bool = Field(
        default=True, description="End when a round's gain cannot be told from none; false: always make all rounds."
    )
    pairs_per_round: int = Field(2500, ge=1)
    samples: int = Field(4, ge=1, description="K: critiques per pair and order.")
    temperature: float = Field(1.0, gt=0)
    max_tokens: int = Field(256, ge=8)
    must_name_difference: bool = Field(
        default=True,
        description="Drop texts that repeat no word of what only the one, or only the other response says.",
    )
    must_agree_with_experts: bool = Field(
        default=True, description="Drop texts that say something else of an object than the experts found."
    )
    threshold: float = Field(0.5, ge=-1, le=1, description="τ: least margin of a critique that is kept.")
    per_order: int = Field(1, ge=1, description="Critiques kept per pair and order at most.")
    prefer: Preference = Field("margin", description="Which of several good critiques is kept.")
    group_cap: float = Field(2.0, ge=1, description="Largest group, in multiples of the smallest.")
    start: Literal["previous", "base"] = Field(
        "previous", description="What a round trains: the judge of the round before, or the one to begin with."
    )
    evidence_share: float = Field(0.3, ge=0, le=1, description="Share of pairs whose samples show evidence.")
    training: FineTuning = FineTuning()
    measuring: Measuring
    pairs_per_block: int = Field(64, ge=1)


def run(config: RejectConfig, folder: RunFolder) -> None:
    """All rounds, then the report. Of several processes the first one samples and measures, all of them train. Raises
    ConfigError if no pair is left for the first round.
    """
    pairs = read_own_pairs(config.pairs)
    _require_pairs(config, len(pairs))
    best, best_round = config.engine, 0
    best_measured = measure(best, config.measuring, folder.path / START)
    history = [best_measured["figures"]]
    for number in range(1, config.rounds + 1):
        begin = config.skip_pairs + (number - 1) * config.pairs_per_round
        own = pairs[begin : begin + config.pairs_per_round]
        if not own:
            _log.warning("Round %d is not made: %s has no pairs left.", number, config.pairs)
            break
        if len(own) < config.pairs_per_round:
            _log.warning("Round %d has the last %d pairs of %s only.", number, len(own), config.pairs)
        step = f"round-{number}"
        if is_first_process():
            _choose(config, folder, own, best, number)
        wait_for(folder.path / _kept_file(number))
        samples = _all_samples(config, folder, pairs, number)
        trained = fine_tune(
            best if config.start == "previous" else config.engine,
            samples,
            config.training,
            folder.path / step,
            seed=config.seed + number,
            callbacks=[TrainingWatch(folder, prefix=f"{step}/")],
        )
        measured = measure(trained, config.measuring, folder.path / step / "measured")
        gain = bootstrap_difference(*_paired(measured, best_measured), seed=config.seed)
        selected = folder.result_of(f"{step}/select")
        folder.mark_done(step, {"gain": gain, "promoted": gain["value"] > 0, **selected})
        history.append(measured["figures"])
        if gain["value"] > 0:
            best, best_round, best_measured = trained, number, measured
        if config.stop_early and gain["low"] <= 0:
            break
    if is_first_process():
        _report(folder, history, best, best_round, best_measured)


def _require_pairs(config: RejectConfig, num_pairs: int) -> None:
    if num_pairs <= config.skip_pairs:
        raise ConfigError(
            f"skip_pairs is {config.skip_pairs:,} and {config.pairs} has {num_pairs:,} pairs: none is left for round "
            "1. Lower skip_pairs (of a loop: pairs_for_ift, in another output folder), or make more pairs."
        )


def _choose(config: RejectConfig, folder: RunFolder, own: Sequence[Pair], judge: EngineChoice, number: int) -> None:
    """Sample and select for one round. Raises AllRejectedError."""
    step = f"round-{number}"
    _sample(config, folder, own, judge, number)
    drawn = [Drawn(**row) for line in folder.read_lines(f"{step}-sampled.jsonl") for row in line]
    by_pair: dict[str, list[Drawn]] = {}
    for item in drawn:
        by_pair.setdefault(item.pair_id, []).append(item)
    scored = [item for items in by_pair.values() for item in score_margins(items)]
    draw_histogram(
        {"critiques": [item.margin for item in scored] or [0.0]}, folder.path / f"{step}-margins.png",
        xlabel="margin over both orders", ylabel="sampled critiques", title=f"Round {number}, τ = {config.threshold:g}",
    )  # fmt: skip
    by_id = {pair.id: pair for pair in own}
    fit: list[Scored] = []
    unfit: dict[str, int] = dict.fromkeys(FAULTS, 0)
    for candidate in scored:
        critique = parse_verdict(candidate.drawn.text).critique
        fault = find_fault(
            critique,
            by_id[candidate.drawn.pair_id],
            must_name_difference=config.must_name_difference,
            must_agree_with_experts=config.must_agree_with_experts,
        )
        if fault is None:
            fit.append(candidate)
        else:
            unfit[fault] += 1
    kept = select(
        fit, threshold=config.threshold, per_order=config.per_order, prefer=config.prefer,
        group_cap=config.group_cap, seed=config.seed + number,
    )  # fmt: skip
    passed = sum(passes(item, config.threshold) for item in fit)
    retention = share_with_interval(passed, len(drawn))
    left_out = len(own) - len(by_pair)
    fates = {
        "pairs left out": left_out,
        "sampled": len(drawn),
        **unfit,
        "passed": passed,
        "retention": retention,
        "kept": len(kept),
    }
    folder.mark_done(f"{step}/select", fates)
    if not kept:
        why = (
            f"None of {len(drawn):,} critiques of round {number} is right with a margin of {config.threshold:g} or more"
        )
        if passed:
            why = (
                f"Of {len(drawn):,} critiques of round {number} {passed:,} passed, but balance left none: no group has "
                "any for a better first response and any for a better second one"
            )
        raise AllRejectedError(
            f"{why} ({', '.join(f'{name}: {num:,}' for name, num in unfit.items())}). Look at "
            f"{folder.path / f'{step}-margins.png'}, then lower threshold, raise samples, or begin with a better "
            "judge, in another output folder. A loop's other stages need not be run again: name their folders to "
            "`train reject`."
        )
    weights = {name: learning_weight(mean_probability(items)) for name, items in by_pair.items()}
    rows = [
        _stored(
            item,
            weights[item.drawn.pair_id],
            with_evidence=shows_evidence(item.drawn.pair_id, config.evidence_share, seed=config.seed),
        )
        for item in kept
    ]
    folder.write_json(_kept_file(number), rows)


def _kept_file(number: int) -> str:
    return f"round-{number}-kept.json"


def _sample(config: RejectConfig, folder: RunFolder, own: Sequence[Pair], judge: EngineChoice, number: int) -> None:
    name = f"round-{number}-sampled.jsonl"
    done = sum(1 for _ in folder.read_lines(name))
    starts = range(0, len(own), config.pairs_per_block)[done:]
    if not starts:
        return

    async def work() -> None:
        engine = open_engine(judge)
        await engine.start()
        try:
            require_probabilities(engine)
            for start in tqdm(starts, desc=f"round {number}: sample", unit=f"×{config.pairs_per_block} pairs"):
                block = own[start : start + config.pairs_per_block]
                drawn = await draw_critiques(engine, block, config, seed=number * 10_000_019 + start)
                folder.append_line(name, [{n: getattr(d, n) for n in Drawn.__slots__} for d in drawn])
        finally:
            await engine.close()

    asyncio.run(work())


async def draw_critiques(engine: Engine, pairs: Sequence[Pair], config: RejectConfig, *, seed: int) -> list[Drawn]:
    """K critiques per pair and order, as the judge writes them by itself. One call, so that a repetition is the same.
    Pairs whose image cannot be read or that the judge refuses are left out, and logged.
    """
    asked: list[list[tuple[Pair, Response, Prompt]]] = []
    skipped: list[Skipped] = []
    for pair in pairs:
        try:
            comparison = pair.load()
        except RowError as error:
            skipped.append(Skipped(id=pair.id, reason=str(error)))
            continue
        both = [(pair, first, render_prompt(comparison, first=first, mode="critique")) for first in ORDERS]
        asked.append([each for each in both for _ in range(config.samples)])

    async def draw(part: Sequence[Sequence[tuple[Pair, Response, Prompt]]]) -> list[Drawn]:
        return await _draw(engine, [prompt for own in part for prompt in own], config, seed=seed)

    parts, refused = await ask_in_parts(asked, draw)
    log_skipped([*skipped, *(Skipped(id=own[0][0].id, reason=reason) for own, reason in refused)])
    return [drawn for part in parts for drawn in part]


async def _draw(
    engine: Engine, asked: Sequence[tuple[Pair, Response, Prompt]], config: RejectConfig, *, seed: int
) -> list[Drawn]:
    completions = await engine.complete(
        [prompt for _, _, prompt in asked],
        Sampling(
            temperature=config.temperature, seed=config.seed * 1_000_003 + seed, max_tokens=config.max_tokens,
            marker=MARKER, labels=LABELS,
        ),
    )  # fmt: skip
    return [
        Drawn(
            pair_id=pair.id, group=pair.group, label=pair.label, first=first, text=completion.text.strip(),
            probability=probability_of(completion, gold_label(pair.label, first)),
        )
        for (pair, first, _), completion in zip(asked, completions, strict=True)
    ]  # fmt: skip


def _stored(item: Scored, weight: float, *, with_evidence: bool = False) -> dict[str, Any]:
    """A critique as it is learned from, with the gold verdict behind it: at a temperature, the verdict that was drawn
    may be the other one although the critique makes the gold one likelier. What stood behind it is left out.
    """
    drawn = item.drawn
    text = f"{parse_verdict(drawn.text).critique}\n{MARKER} {gold_label(drawn.label, drawn.first)}".lstrip()
    return {"id": drawn.pair_id, "first": drawn.first, "text": text, "weight": weight, "with_evidence": with_evidence}


def _all_samples(config: RejectConfig, folder: RunFolder, pairs: Sequence[Pair], number: int) -> list[Sample]:
    """What was kept in this round and those before, and the first samples. Raises TooFewSamplesError."""
    by_id = {pair.id: pair for pair in pairs}
    samples = [
        to_sample(by_id[row["id"]], row)
        for earlier in range(1, number + 1)
        for row in folder.read_json(_kept_file(earlier))
    ]
    if config.first_samples is not None:
        samples += read_critiques(config.first_samples, pairs)
    require_batch(samples, config.training)
    return samples


def _paired(one: dict[str, Any], other: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Scores of the pairs that both measurements have."""
    common = [name for name in one["scores"] if name in other["scores"]]
    return [one["scores"][name] for name in common], [other["scores"][name] for name in common]


def _report(
    folder: RunFolder, history: Sequence[dict[str, Any]], best: EngineChoice, best_round: int, measured: dict[str, Any]
) -> None:
    rounds = [folder.result_of(f"round-{number}") for number in range(1, len(history))]
    folder.write_json(ROUNDS, {"measured": list(history), "rounds": rounds, "best_round": best_round})
    folder.write_json(BEST, best.model_dump(mode="json"))
    folder.write_json(RESULT, {**measured["figures"], "rounds": {str(n): f for n, f in enumerate(history)}})
    names = [name for name in history[0] if name not in ("consistency", "ECE")]
    draw_lines(
        {name: [(float(number), figures[name]) for number, figures in enumerate(history)] for name in names},
        folder.path / "rounds.png", xlabel="round", ylabel="accuracy on held-out pairs", title="Rejection sampling",
    )  # fmt: skip


def plan_rounds(config: RejectConfig, *, num_first_samples: int, num_pairs: int | None = None) -> Plan:
    """All rounds for which there are pairs. num_first_samples: samples of stage 1 that each of them trains on as well.
    num_pairs: of the source; None if they are not made yet: as many as the rounds want.
    """
    wanted = config.rounds * config.pairs_per_round
    left = wanted if num_pairs is None else min(wanted, num_pairs - config.skip_pairs)
    steps = [plan_measuring(config.measuring, config.engine, name="measure the start")]
    for number in range(1, -(-left // config.pairs_per_round) + 1):
        so_far = min(left, number * config.pairs_per_round)
        own = so_far - (number - 1) * config.pairs_per_round
        readings = 2 * own * config.samples
        kept = num_first_samples + round(_KEPT * 2 * so_far * config.per_order)
        steps += [
            PlannedStep(
                name=f"round {number}: sample",
                detail=f"{own:,} pairs, both orders, {config.samples} critiques each",
                num_tokens=300 * readings,
                seconds=readings / config.engine.readings_per_second,
            ),
            plan_training(config.training, num_samples=kept),
            plan_measuring(config.measuring, config.engine, name=f"round {number}: measure"),
        ]
    return Plan(
        steps=tuple(steps),
        notes=(
            f"Of what can be kept per pair and order, {_KEPT:.0%} are taken to be good enough.",
            *(["It ends early when a round's gain cannot be told from none."] if config.stop_early else []),
        ),
    )


def _plan(config: RejectConfig) -> Plan:
    first = config.first_samples
    lines = () if first is None else read_json_lines(first / CRITIQUES)
    num_first_samples = sum(len(line["critiques"]) for line in lines)
    num_pairs = count_pairs(config.pairs)
    _require_pairs(config, num_pairs)
    return plan_rounds(config, num_first_samples=num_first_samples, num_pairs=num_pairs)


JOB = Job(schema=RejectConfig, plan=_plan, run=run)
