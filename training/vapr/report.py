"""What came of a VaPR run, for people and for studies: a page, figures and plots.

It says how many attempts at each kind of error were kept and what became of the others, and how far chosen and rejected
answers differ in length, style and words, which is what a policy could learn instead of looking.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genrm.plots import draw_bars, draw_histogram
from training.jobs.files import write_text
from training.jobs.run_folder import RESULT, RunFolder
from training.preferences.card import blind_classifiers, blind_transfer
from training.sources import find_text
from training.statistics import Estimate, share_with_interval
from training.tables import open_table
from training.vapr.limits import describe_style
from training.vapr.yes_no import count_words

CARD = "README.md"
DATA = "data"
ACCEPTANCE_PLOT, LENGTHS_PLOT, STYLES_PLOT, BLIND_PLOT = "acceptance.png", "lengths.png", "styles.png", "blind.png"
_MOST_MARKS = 10


def read_pair_texts(folder: Path) -> list[dict[str, Any]]:
    """The rows of a folder of preference rows, without pictures, chosen and rejected as texts."""
    table = open_table(str(folder)).texts
    rows = []
    for index in range(len(table)):
        row = dict(table[index])
        question, chosen, rejected = (find_text(row, (name,)) or "" for name in ("prompt", "chosen", "rejected"))
        rows.append(row | {"question": question, "chosen": chosen, "rejected": rejected})
    return rows


def write_report(
    folder: RunFolder,
    *,
    counts: Mapping[str, int],
    fates: Mapping[str, Mapping[str, int]],
    num_dropped: int,
    before: Mapping[str, Estimate],
    beside: Path | None,
    seed: int,
) -> dict[str, Any]:
    """Write `README.md`, `result.json` and the plots; what `result.json` says is returned.

    counts: of source rows. fates: of attempts, by kind of error. num_dropped: pairs dropped for balance. before: the
    blind classifiers before that. beside: folder of another run, whose classifiers are shown too.
    """
    rows = read_pair_texts(folder.path / DATA)
    lengths = {role: [len(row[role].split()) for row in rows] for role in ("chosen", "rejected")}
    longer = np.sign(np.array(lengths["chosen"]) - np.array(lengths["rejected"]))
    blind = blind_classifiers(rows, seed=seed)
    result: dict[str, Any] = {
        "num_pairs": len(rows),
        "dropped_for_balance": num_dropped,
        "rows": dict(sorted(counts.items())),
        "fates": {kind: dict(Counter(each).most_common()) for kind, each in sorted(fates.items())},
        "acceptance": {
            kind: share_with_interval(each.get("kept", 0), sum(each.values())) for kind, each in sorted(fates.items())
        },
        "by_error_kind": dict(Counter(row["error_kind"] for row in rows).most_common()),
        "by_question_kind": dict(Counter(row["question_kind"] for row in rows).most_common()),
        "by_group": dict(Counter(row["group"] or "none" for row in rows).most_common()),
        "words": {role: float(np.mean(each)) for role, each in lengths.items()},
        "chosen_longer": share_with_interval(float(((longer + 1) / 2).sum()), len(rows)),
        "chosen_yes_no": dict(count_words([row["chosen"] for row in rows])),
        "styles": _compare_styles(rows),
        "blind": blind,
        "blind_before_balance": dict(before),
    }
    shown = {"this set": blind}
    if before and num_dropped:
        shown = {"before balancing": dict(before), **shown}
    if beside is not None:
        others = read_pair_texts(beside / DATA)
        result["blind_beside"] = shown[beside.name] = blind_classifiers(others, seed=seed)
        result["blind_learned_beside"] = shown[f"this set, learned from {beside.name}"] = blind_transfer(
            others, rows, seed=seed
        )
    _draw(folder.path, result, lengths, shown)
    write_text(folder.path / CARD, _render(result, shown))
    folder.write_json(RESULT, result)
    return result


def _compare_styles(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Estimate]]:
    """Shares of the most frequent marks of style among chosen and rejected answers."""
    marks: dict[str, Counter[str]] = {}
    for role in ("chosen", "rejected"):
        counted = Counter(mark for row in rows for mark in set(_marks(row[role])))
        for mark, number in counted.items():
            marks.setdefault(mark, Counter())[role] = number
    most = sorted(marks, key=lambda mark: (-sum(marks[mark].values()), mark))[:_MOST_MARKS]
    return {
        mark: {role: share_with_interval(marks[mark][role], len(rows)) for role in ("chosen", "rejected")}
        for mark in most
    }


def _marks(text: str) -> list[str]:
    beginning, case, sentences, lines, markup, end = describe_style(text)
    return [f"begins: {beginning}", case, sentences, lines, markup, f"ends: {end or 'no mark'}"]


def _draw(
    folder: Path,
    result: Mapping[str, Any],
    lengths: Mapping[str, Sequence[float]],
    shown: Mapping[str, Mapping[str, Estimate]],
) -> None:
    acceptance = {kind: {"kept": estimate} for kind, estimate in result["acceptance"].items()}
    draw_bars(
        acceptance, folder / ACCEPTANCE_PLOT, ylabel="share of attempts kept", title="Acceptance by kind of error"
    )
    draw_histogram(lengths, folder / LENGTHS_PLOT, xlabel="words", ylabel="answers", title="Lengths")
    draw_bars(result["styles"], folder / STYLES_PLOT, ylabel="share of answers", title="Style")
    bars = {name: _named(each) for name, each in shown.items() if each}
    if bars:
        draw_bars(bars, folder / BLIND_PLOT, ylabel="accuracy", title="Classifiers that see no image", reference=0.5)


def _named(blind: Mapping[str, Estimate]) -> dict[str, Estimate]:
    return {name.replace("_", " "): estimate for name, estimate in blind.items()}


def _render(result: Mapping[str, Any], shown: Mapping[str, Mapping[str, Estimate]]) -> str:
    lines = [
        "# Hard negatives",
        "",
        (
            f"{result['num_pairs']:,} pairs made by `vl-genrm train vapr`, in TRL's vision preference format "
            f"(`{DATA}/`). {result['dropped_for_balance']:,} more were made and dropped for balance (`dropped.jsonl`); "
            "every refused edit is in `refused/`."
        ),
        "",
        "## Attempts",
        "",
        "| kind of error | attempts | kept | of the others |",
        "|---|---|---|---|",
    ]
    for kind, fates in result["fates"].items():
        others = ", ".join(f"{fate}: {number:,}" for fate, number in fates.items() if fate != "kept") or "–"
        lines.append(f"| {kind} | {sum(fates.values()):,} | {_show(result['acceptance'][kind])} | {others} |")
    lines += ["", f"![acceptance]({ACCEPTANCE_PLOT})", ""]
    for title, key in (("Source rows", "rows"), ("Errors", "by_error_kind"), ("Questions", "by_question_kind"),
                       ("Groups", "by_group"), ("Chosen answers to yes-or-no questions", "chosen_yes_no")):  # fmt: skip
        lines += [f"## {title}", "", "| what | number |", "|---|---|"]
        lines += [f"| {name} | {number:,} |" for name, number in result[key].items()] + [""]
    lines += [
        "## Length and style",
        "",
        (
            f"Mean words: chosen {result['words']['chosen']:.1f}, rejected {result['words']['rejected']:.1f}. The "
            f"chosen answer has more words in {_show(result['chosen_longer'])} of pairs, equal counts half."
        ),
        "",
        f"![lengths]({LENGTHS_PLOT}) ![styles]({STYLES_PLOT})",
        "",
        "| mark of style | chosen | rejected |",
        "|---|---|---|",
        *(
            f"| {mark} | {_show(each['chosen'])} | {_show(each['rejected'])} |"
            for mark, each in result["styles"].items()
        ),
        "",
        "## Blind classifiers",
        "",
        (
            "Accuracy of telling chosen from rejected without the image; near 0.5, texts do not give it away. Below "
            "0.5 is no clue either: the set is balanced as a whole, so what the fifth that is tested has too much of, "
            "the rest has too little of. A second set (`beside`) has no such tie."
        ),
        "",
    ]
    if not any(shown.values()):
        return "\n".join([*lines, "Too few pairs to tell."]) + "\n"
    lines += ["| set | text only | length only |", "|---|---|---|"]
    lines += [
        f"| {name} | {_show(each['text_only'])} | {_show(each['length_only'])} |"
        for name, each in shown.items()
        if each
    ]
    return "\n".join([*lines, "", f"![blind]({BLIND_PLOT})"]) + "\n"


def _show(estimate: Estimate) -> str:
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"
