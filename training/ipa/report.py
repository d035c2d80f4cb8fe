"""What came of a run, for people and for studies: a page with tables, figures with intervals, and plots."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from genrm.plots import draw_bars, draw_histogram
from training.ipa.candidates import SOURCES
from training.ipa.state import STATES, ItemState, count_states
from training.ipa.tables import DATA
from training.jobs.files import write_text
from training.jobs.run_folder import RESULT, RunFolder
from training.preferences.card import CARD, blind_classifiers
from training.statistics import Estimate, share_with_interval

ITEMS_PLOT, PASS_PLOT, PERTURBATIONS_PLOT, LENGTHS_PLOT = (
    "items.png", "pass-rates.png", "perturbations.png", "lengths.png",
)  # fmt: skip
_LINES_AT_ONCE = 1_000


def write_report(
    folder: RunFolder,
    states: Sequence[ItemState],
    rounds: Sequence[Mapping[str, Any]],
    fates: Mapping[str, int],
    *,
    seed: int,
) -> dict[str, Any]:
    """Write `README.md`, `result.json` and the plots; returns what `result.json` says.

    rounds: what each round left in its `round.json`. fates: of rows, before any round.
    """
    counts = [Counter(each["counts"]) for each in rounds]
    total = sum(counts, Counter())
    pairs = list(_read_pairs(folder))
    words = {role: [len(pair[role].split()) for pair in pairs] for role in ("chosen", "rejected")}
    longer = np.sign(np.array(words["chosen"]) - np.array(words["rejected"]))
    result: dict[str, Any] = {
        "num_pairs": len(pairs),
        "num_feedback_pairs": sum(each["feedback_pairs"] for each in rounds),
        "rows": dict(sorted(fates.items())),
        "items": count_states(states, after_round=len(rounds)),
        "hard": {f"after round {n}": _hard(states, n) for n in range(1, len(rounds) + 1)},
        "hard_by_group": _hard_by_group(states, len(rounds)),
        "pass_rate": {f"round {n}": _rates(each, "finding", SOURCES) for n, each in enumerate(counts, 1)},
        "pass_rate_by_perturbation": _rates(total, "perturbed", _middles(total, "perturbed")),
        "pairs_by_source": _below(total, "pairs"),
        "findings": {f"round {n}": _by_two(each, "finding") for n, each in enumerate(counts, 1)},
        "answers": {f"round {n}": _by_two(each, "fate") for n, each in enumerate(counts, 1)},
        "items_for_pairs": {f"round {n}": _below(each, "item") for n, each in enumerate(counts, 1)},
        "trained_on": {f"before round {n}": each["trained_on"] for n, each in enumerate(rounds, 1) if n > 1},
        "words": {role: float(np.mean(each)) for role, each in words.items() if each},
        "blind": blind_classifiers(pairs, seed=seed),
    }
    if pairs:
        result["chosen_longer"] = share_with_interval(float(((longer + 1) / 2).sum()), longer.size)
    _draw(folder, states, result, words)
    write_text(folder.path / CARD, _render(result, states))
    folder.write_json(RESULT, result)
    return result


def _read_pairs(folder: RunFolder) -> Iterator[dict[str, str]]:
    """Id and texts of all pairs, without their pictures."""
    import pyarrow.parquet as pq

    for path in sorted((folder.path / DATA).glob("*.parquet")):
        for row in pq.read_table(path, columns=["id", "chosen", "rejected"]).to_pylist():
            yield {"id": row["id"], **{role: row[role][-1]["content"][0]["text"] for role in ("chosen", "rejected")}}


def _hard(states: Sequence[ItemState], after_round: int) -> Estimate:
    """Share of the items that could be asked about."""
    counts = count_states(states, after_round=after_round)
    num = sum(number for name, number in counts.items() if name != "image unreadable")
    return share_with_interval(counts.get("still hard", 0), num)


def _hard_by_group(states: Sequence[ItemState], after_round: int) -> dict[str, Estimate]:
    groups: dict[str, list[ItemState]] = {}
    for state in states:
        groups.setdefault(state.group or "no group", []).append(state)
    return {name: _hard(own, after_round) for name, own in sorted(groups.items())}


def _rates(counts: Mapping[str, int], kind: str, names: Sequence[str]) -> dict[str, Estimate]:
    """Share of answers that passed, of those with a finding that can be read."""
    rates = {}
    for name in names:
        found = {key.split("/")[2]: number for key, number in counts.items() if key.startswith(f"{kind}/{name}/")}
        num = sum(number for finding, number in found.items() if finding != "unreadable")
        if num:
            rates[name] = share_with_interval(found.get("pass", 0), num)
    return rates


def _middles(counts: Mapping[str, int], kind: str) -> list[str]:
    return sorted({key.split("/")[1] for key in counts if key.startswith(f"{kind}/")})


def _below(counts: Mapping[str, int], kind: str) -> dict[str, int]:
    return {key.partition("/")[2]: number for key, number in sorted(counts.items()) if key.startswith(f"{kind}/")}


def _by_two(counts: Mapping[str, int], kind: str) -> dict[str, dict[str, int]]:
    """Counts by the last part of their names, by the middle one."""
    found: dict[str, dict[str, int]] = {}
    for name, number in _below(counts, kind).items():
        middle, _, last = name.partition("/")
        found.setdefault(middle, {})[last] = number
    return found


def _draw(
    folder: RunFolder, states: Sequence[ItemState], result: Mapping[str, Any], words: Mapping[str, Sequence[float]]
) -> None:
    bars = {}
    for number in range(1, len(result["hard"]) + 1):
        counts = count_states(states, after_round=number)
        bars[f"after round {number}"] = {name: share_with_interval(num, len(states)) for name, num in counts.items()}
    draw_bars(bars, folder.path / ITEMS_PLOT, ylabel="share of items", title="Items by state")
    draw_bars(result["pass_rate"], folder.path / PASS_PLOT, ylabel="share that passed", title="Answers by source")
    if result["pass_rate_by_perturbation"]:
        draw_bars(
            {name: {"share": rate} for name, rate in result["pass_rate_by_perturbation"].items()},
            folder.path / PERTURBATIONS_PLOT,
            ylabel="share that passed",
            title="Contrastive answers by perturbation",
        )
    if words["chosen"]:
        draw_histogram(words, folder.path / LENGTHS_PLOT, xlabel="words", ylabel="responses", title="Lengths in pairs")


def _render(result: Mapping[str, Any], states: Sequence[ItemState]) -> str:
    num_rounds = len(result["hard"])
    after = [count_states(states, after_round=number) for number in range(1, num_rounds + 1)]
    lines = [
        "# Preference data from instruction following",
        "",
        (
            f"{result['num_pairs']:,} pairs of responses (`data/`) and {result['num_feedback_pairs']:,} of feedback "
            "(`feedback/`), made by `vl-genrm train ipa`, in TRL's vision preference format. `items.jsonl` has the "
            "state of every item."
        ),
        "",
        "## Items",
        "",
        "| state | " + " | ".join(f"after round {number}" for number in range(1, num_rounds + 1)) + " |",
        "|---|" + "---|" * num_rounds,
        *(
            f"| {name} | " + " | ".join(f"{counts.get(name, 0):,}" for counts in after) + " |"
            for name in STATES
            if any(name in counts for counts in after)
        ),
        "",
        f"![items by state]({ITEMS_PLOT})",
        "",
        "| group | still hard |",
        "|---|---|",
        *(f"| {name} | {_show(share)} |" for name, share in result["hard_by_group"].items()),
        "",
        "## Answers that passed",
        "",
        "| round | " + " | ".join(SOURCES) + " |",
        "|---|" + "---|" * len(SOURCES),
        *(
            f"| {name} | " + " | ".join(_show(rates[s]) if s in rates else "–" for s in SOURCES) + " |"
            for name, rates in result["pass_rate"].items()
        ),
        "",
        f"![answers that passed]({PASS_PLOT})",
    ]
    if result["pass_rate_by_perturbation"]:
        lines += [f"![by perturbation]({PERTURBATIONS_PLOT})"]
    lines += ["", "What was not passed, and what was left out:", "", "| round | source | what | number |"]
    lines += ["|---|---|---|---|"]
    for kind in ("findings", "answers"):
        lines += [
            f"| {name} | {source} | {what} | {number:,} |"
            for name, sources in result[kind].items()
            for source, counts in sources.items()
            for what, number in counts.items()
            if what not in ("pass", "kept")
        ]
    lines += ["", "## Pairs", "", "| preferred over dispreferred | pairs |", "|---|---|"]
    lines += [f"| {name} | {number:,} |" for name, number in result["pairs_by_source"].items()]
    lines += ["", "| round | items | number |", "|---|---|---|"]
    lines += [
        f"| {name} | {what} | {number:,} |"
        for name, counts in result["items_for_pairs"].items()
        for what, number in counts.items()
    ]
    if result["num_pairs"]:
        lines += [
            "",
            (
                f"Mean words: chosen {result['words']['chosen']:.1f}, rejected {result['words']['rejected']:.1f}; the "
                f"chosen one is longer in {_show(result['chosen_longer'])} (equal counts half)."
            ),
            "",
            *(f"- {name.replace('_', ' ')} classifier: {_show(e)}" for name, e in result["blind"].items()),
            "",
            f"![lengths]({LENGTHS_PLOT})",
        ]
    return "\n".join(lines) + "\n"


def _show(share: Mapping[str, float]) -> str:
    return f"{share['value']:.3f} [{share['low']:.3f}, {share['high']:.3f}]"
