"""IPA (arXiv 2503.20309): preference data out of instruction following, in up to three rounds.

A round samples answers to every item, on its picture and on perturbed ones, has a reviser criticise and revise them,
has a verifier say with the reference in view which of all these pass, and pairs what passed with what failed. Items
for which nothing passed are hard: they go to the next round, with generators trained by DPO on the pairs, and a
reviser on the pairs of feedback. In round 3 the reviser has the reference in view as well.

Output: `data/` and `feedback/` (`training.ipa.tables`), `items.jsonl`, `README.md`, `result.json` and plots. The data
set is the product; `train dpo` makes the policy. A killed run goes on with the first shard that is not done, or inside
the training that it was in. Under `accelerate launch` the first process asks, and all of them train.

Run: `vl-genrm train ipa CONFIG`.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from training.dpo_training import plan_dpo
from training.ipa.items import Item, make_items
from training.ipa.report import write_report
from training.ipa.rounds import Models, collect, train_models
from training.ipa.settings import IpaConfig
from training.ipa.state import count_states, hard_items, outcomes_file, read_states, write_states
from training.jobs.job import Job
from training.jobs.plan import Plan, PlannedStep
from training.jobs.processes import is_first_process, wait_for
from training.jobs.run_folder import RESULT, RunFolder
from training.jobs.training_state import TrainingWatch
from training.preferences.pairs import NoPairsError, with_own_ids
from training.sources import count_examples, read_examples
from training.tables import SourceError

_SHARES = {1: 1.0, 2: 0.2, 3: 0.15}
"""Of the items, how many are in a round, for the plan."""
_DIFFERENT = 0.5
"""Of the first answers, how many say something new, for the plan."""


def run(config: IpaConfig, folder: RunFolder) -> None:
    """All rounds that are not done, then the report. Raises SourceError, and NoPairsError if no pair was made."""
    found = read_examples(config.source, images=config.images, limit=config.limit)
    items, fates = make_items(with_own_ids(found.rows), open_ended_share=config.open_ended_share, seed=config.seed)
    fates["row skipped"] = len(found.skipped)
    if not items:
        raise SourceError(f"No row of {config.source} has a reference answer. Name a source with references.")
    models = Models(generators=config.generators, reviser=config.reviser)
    rounds: list[dict[str, Any]] = []
    for number in range(1, config.rounds + 1):
        trained: dict[str, int] = {}
        if number > 1:
            models, trained = train_models(
                config, folder, models, number, watch=lambda prefix: [TrainingWatch(folder, prefix=prefix)]
            )
        if is_first_process():
            _work(config, folder, items, models, number, trained)
        wait_for(folder.path / _told(number))
        rounds.append(folder.read_json(_told(number)))
        if not rounds[-1]["states"].get("still hard"):
            break
    if is_first_process():
        _finish(config, folder, items, rounds, fates)
    wait_for(folder.path / RESULT)


def _told(number: int) -> str:
    """What a round comes to: written last."""
    return f"round-{number}/round.json"


def _work(
    config: IpaConfig, folder: RunFolder, items: Sequence[Item], models: Models, number: int, trained: dict[str, int]
) -> None:
    """One round, and the state of the items after it."""
    if (folder.path / _told(number)).exists():
        return
    before = read_states(folder, items, last_round=number - 1)
    collect(config, folder, items if number == 1 else hard_items(items, before), models, number)
    states = read_states(folder, items, last_round=number)
    write_states(folder, states)
    counts: Counter[str] = Counter()
    for line in folder.read_lines(outcomes_file(number)):
        counts.update(line["counts"])
    own = [state.rounds[str(number)] for state in states if str(number) in state.rounds]
    folder.write_json(
        _told(number),
        {
            "items": len(own),
            "pairs": sum(each["pairs"] for each in own),
            "feedback_pairs": sum(each["feedback_pairs"] for each in own),
            "trained_on": trained,
            "states": count_states(states, after_round=number),
            "counts": dict(counts),
        },
    )
    folder.mark_done(f"round-{number}", {"items": len(own)})


def _finish(
    config: IpaConfig, folder: RunFolder, items: Sequence[Item], rounds: Sequence[dict[str, Any]], fates: Counter[str]
) -> None:
    if not any(each["pairs"] for each in rounds):
        met: Counter[str] = Counter()
        for each in rounds:
            met.update({name: number for name, number in each["counts"].items() if name.startswith(("item/", "fin"))})
        told = ", ".join(f"{name.replace('/', ': ', 1)}: {number:,}" for name, number in sorted(met.items()))
        raise NoPairsError(
            f"No pair was made of {len(items):,} items ({told}). Where nothing passes, look at the references and the "
            "verifier; where nothing fails, raise sampled.temperature or perturbations.max_strength; where much is "
            "unreadable, raise verification.max_tokens. Other settings need another output folder."
        )
    states = read_states(folder, items, last_round=len(rounds))
    write_report(folder, states, rounds, {name: number for name, number in fates.items() if number}, seed=config.seed)


def _plan(config: IpaConfig) -> Plan:
    """All rounds, as if a fixed share of the items were hard."""
    num_items = count_examples(config.source, images=config.images, limit=config.limit)
    steps: list[PlannedStep] = []
    for number in range(1, config.rounds + 1):
        if number > 1:
            steps.append(plan_dpo(config.training, num_pairs=num_items * config.caps.pairs_per_item // 2))
        steps.append(_plan_round(config, number, round(_SHARES[number] * num_items)))
    shares = ", ".join(f"{_SHARES[number]:.0%} in round {number}" for number in range(2, config.rounds + 1))
    notes = (
        f"Of the items, {shares} are taken to be hard; of first answers, {_DIFFERENT:.0%} to be different.",
        "One model is loaded at a time.",
    )
    return Plan(steps=tuple(steps), notes=notes if shares else notes[1:])


def _plan_round(config: IpaConfig, number: int, num_items: int) -> PlannedStep:
    first = num_items * config.sampled.per_item * (2 if config.contrastive else 1)
    different = round(_DIFFERENT * first * len(config.generators))
    revised = different * config.revision.feedbacks_per_response
    seconds = sum(first / choice.readings_per_second for choice in config.generators)
    seconds += 2 * revised / config.reviser.readings_per_second
    seconds += (different + revised) / config.verifier.readings_per_second
    num_calls = first * len(config.generators) + 3 * revised + different
    detail = f"{num_items:,} items: {first * len(config.generators):,} answers, {revised:,} revisions"
    return PlannedStep(name=f"round-{number}", detail=detail, num_tokens=300 * num_calls, seconds=seconds)


JOB = Job(schema=IpaConfig, plan=_plan, run=run)
