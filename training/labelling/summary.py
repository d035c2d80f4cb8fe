"""What came of a labelling, for people: a page with counts, margins and lengths, and three plots."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from genrm.plots import draw_bars, draw_histogram
from training.jobs.files import write_text
from training.jobs.run_folder import RESULT, RunFolder
from training.labelling.rules import KeepRules
from training.labelling.tables import VERDICTS
from training.statistics import share_with_interval

CARD = "README.md"
MARGINS_PLOT = "margins.png"
FATES_PLOT = "fates.png"
LENGTHS_PLOT = "lengths.png"
_COLUMNS = ("margin", "dropped_because", "preferred", "response_a", "response_b", "consistent")


def write_summary(
    folder: RunFolder, fates: Mapping[str, int], rules: KeepRules, judge: Mapping[str, object]
) -> dict[str, Any]:
    """Write `README.md`, `result.json` and the plots; what `result.json` says is returned.

    fates: how many pairs met which, and `row skipped`. Verdicts are read a file at a time.
    """
    margins: dict[str, list[float]] = {"kept": [], "dropped": []}
    lengths: dict[str, list[float]] = {"chosen": [], "rejected": []}
    counts: Counter[str] = Counter()
    for batch in _read_verdicts(folder):
        for row in batch:
            is_kept = row["dropped_because"] is None
            counts["first preferred"] += row["preferred"] == "A"
            counts["decided"] += row["preferred"] is not None
            counts["consistent"] += row["consistent"] is True
            if row["margin"] is not None:
                margins["kept" if is_kept else "dropped"].append(abs(row["margin"]))
            if is_kept:
                better, worse = (
                    ("response_a", "response_b") if row["preferred"] == "A" else ("response_b", "response_a")
                )
                lengths["chosen"].append(len(row[better].split()))
                lengths["rejected"].append(len(row[worse].split()))
    num_pairs = sum(number for fate, number in fates.items() if fate != "row skipped")
    longer = np.sign(np.array(lengths["chosen"]) - np.array(lengths["rejected"]))
    result: dict[str, Any] = {
        "num_pairs": num_pairs,
        "num_kept": fates.get("kept", 0),
        "num_rows_skipped": fates.get("row skipped", 0),
        "fates": dict(sorted(fates.items())),
        "kept": share_with_interval(fates.get("kept", 0), num_pairs),
        "consistent": share_with_interval(counts["consistent"], num_pairs),
        "first_of_the_source_preferred": share_with_interval(counts["first preferred"], counts["decided"]),
        "chosen_longer": share_with_interval(float(((longer + 1) / 2).sum()), longer.size),
        "words": {name: float(np.mean(each)) if each else 0.0 for name, each in lengths.items()},
        "rules": rules.model_dump(),
        "judge": dict(judge),
    }
    _draw(folder, fates, margins, lengths, num_pairs)
    write_text(folder.path / CARD, _render(result))
    folder.write_json(RESULT, result)
    return result


def _read_verdicts(folder: RunFolder) -> Any:  # noqa: ANN401 - an iterator over lists of rows
    import pyarrow.parquet as pq

    for path in sorted((folder.path / VERDICTS).glob("*.parquet")):
        yield pq.read_table(path, columns=list(_COLUMNS)).to_pylist()


def _draw(
    folder: RunFolder,
    fates: Mapping[str, int],
    margins: Mapping[str, list[float]],
    lengths: Mapping[str, list[float]],
    num_pairs: int,
) -> None:
    drawn = {name: each for name, each in margins.items() if each}
    if drawn:
        draw_histogram(
            drawn, folder.path / MARGINS_PLOT, xlabel="|margin|", ylabel="pairs", title="How sure the judge is"
        )
    shares = {
        fate: {"share": share_with_interval(number, num_pairs)}
        for fate, number in fates.items()
        if fate != "row skipped"
    }
    draw_bars(shares, folder.path / FATES_PLOT, ylabel="share of pairs", title="What became of the pairs")
    if lengths["chosen"]:
        draw_histogram(
            lengths, folder.path / LENGTHS_PLOT, xlabel="words", ylabel="responses", title="Lengths of what was kept"
        )


def _render(result: Mapping[str, Any]) -> str:
    def show(estimate: Mapping[str, float]) -> str:
        return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"

    lines = [
        "# Labelled pairs",
        "",
        (
            f"{result['num_pairs']:,} pairs judged by {result['judge'].get('model')}, {result['num_kept']:,} kept as "
            "preference rows (`dpo/`, in TRL's vision preference format); every verdict is in `verdicts/`."
        ),
        "",
        "| what became of a pair | number |",
        "|---|---|",
        *(f"| {fate} | {number:,} |" for fate, number in result["fates"].items()),
        "",
        "| share | value with 95 % interval |",
        "|---|---|",
        f"| kept | {show(result['kept'])} |",
        f"| both orders agree | {show(result['consistent'])} |",
        f"| the source's first answer is preferred | {show(result['first_of_the_source_preferred'])} |",
    ]
    if result["num_kept"]:
        lines.append(f"| the chosen response has more words (equal counts half) | {show(result['chosen_longer'])} |")
        lines += [
            "",
            (
                f"Mean words: chosen {result['words']['chosen']:.1f}, rejected {result['words']['rejected']:.1f}. If "
                "the chosen ones are mostly longer, a policy may learn that instead of looking."
            ),
        ]
    lines += ["", f"![margins]({MARGINS_PLOT}) ![fates]({FATES_PLOT})"]
    return "\n".join(lines) + "\n"
