"""The card of a preference data set: what is in it, what was left out and why, and whether it can be solved blindly.

A classifier that sees only the texts, and one that sees only their lengths, say whether chosen and rejected responses
can be told apart without the image. Near one half is the goal; what they find, a judge would learn instead of looking.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from training.jobs.files import write_text
from training.jobs.run_folder import RESULT, RunFolder
from training.statistics import Estimate, share_with_interval
from training.tables import open_table

CARD = "README.md"
_FOLDS = 5
_LEAST_PAIRS = 50


def write_card(folder: RunFolder, fates: Mapping[str, int], *, seed: int) -> None:
    """Write `README.md` and `result.json` for the shards of a folder. fates: how many candidates met which."""
    records = open_table(str(folder.path / "data")).texts
    rows = [records[index] for index in range(len(records))]
    result: dict[str, Any] = {
        "num_pairs": len(rows),
        "fates": dict(sorted(fates.items())),
        "by_group": dict(Counter(row["group"] or "none" for row in rows).most_common()),
        "by_error_kind": dict(Counter(row["error_kind"] for row in rows).most_common()),
        "words": {role: _lengths([row[role] for row in rows]) for role in ("chosen", "rejected")},
        "blind": blind_classifiers(rows, seed=seed),
    }
    write_text(folder.path / CARD, _render(result))
    folder.write_json(RESULT, result)


def blind_classifiers(rows: Sequence[Mapping[str, Any]], *, seed: int = 0) -> dict[str, Estimate]:
    """Accuracy of telling chosen from rejected, pair by pair, on rows whose questions and images were not learned from.

    `text_only`: bags of words and word pairs. `length_only`: difference in words and in characters. Empty for fewer
    than 50 pairs, which say nothing.
    """
    if len(rows) < _LEAST_PAIRS:
        return {}
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold

    signs = np.where(np.random.default_rng(seed).random(len(rows)) < 0.5, 1, -1)
    sources = [str(row["id"]).rpartition("#")[0] for row in rows]
    found = {}
    for name, differences in _blind_differences(rows).items():
        signed = differences.multiply(signs[:, None]).tocsr()
        right = 0
        for learn, test in GroupKFold(min(_FOLDS, len(set(sources)))).split(signed, signs, sources):
            model = LogisticRegression(max_iter=500).fit(signed[learn], signs[learn])
            right += int((model.predict(signed[test]) == signs[test]).sum())
        found[name] = share_with_interval(right, len(rows))
    return found


def blind_transfer(
    learned: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], *, seed: int = 0
) -> dict[str, Estimate]:
    """As `blind_classifiers`, but learned from all of one set and tested on another, so that neither knows the other.

    Cross-validation within a set whose words are balanced as a whole comes out below one half: what a part has too much
    of, the rest has too little of. Between two sets there is no such tie. Empty if either has fewer than 50 pairs.
    """
    if min(len(learned), len(rows)) < _LEAST_PAIRS:
        return {}
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(seed)
    ours, theirs = _blind_differences(rows), _blind_differences(learned)
    found = {}
    for name, differences in ours.items():
        signs = [np.where(rng.random(each.shape[0]) < 0.5, 1, -1) for each in (theirs[name], differences)]
        model = LogisticRegression(max_iter=500).fit(theirs[name].multiply(signs[0][:, None]).tocsr(), signs[0])
        right = int((model.predict(differences.multiply(signs[1][:, None]).tocsr()) == signs[1]).sum())
        found[name] = share_with_interval(right, len(rows))
    return found


def _blind_differences(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What each classifier sees, chosen − rejected: a sparse matrix, pairs × features."""
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(ngram_range=(1, 2), n_features=2**16, alternate_sign=False, norm=None)
    chosen, rejected = ([row[role] for row in rows] for role in ("chosen", "rejected"))
    lengths = [[len(c.split()) - len(r.split()), len(c) - len(r)] for c, r in zip(chosen, rejected, strict=True)]
    return {
        "text_only": vectorizer.transform(chosen) - vectorizer.transform(rejected),
        "length_only": csr_matrix(lengths),
    }


def _lengths(texts: Sequence[str]) -> dict[str, float]:
    counts = [len(text.split()) for text in texts] or [0]
    low, middle, high = np.percentile(counts, [5, 50, 95])
    return {"mean": float(np.mean(counts)), "p5": float(low), "median": float(middle), "p95": float(high)}


def _render(result: Mapping[str, Any]) -> str:
    lines = ["# Preference data", "", f"{result['num_pairs']:,} pairs, made by `vl-genrm train preferences`.", ""]
    for title, key in (("Candidates", "fates"), ("Groups", "by_group"), ("Errors", "by_error_kind")):
        lines += [f"## {title}", "", "| what | number |", "|---|---|"]
        lines += [f"| {name} | {number:,} |" for name, number in result[key].items()] + [""]
    lines += ["## Words", "", "| response | mean | 5 % | median | 95 % |", "|---|---|---|---|---|"]
    lines += [
        f"| {role} | {w['mean']:.1f} | {w['p5']:.0f} | {w['median']:.0f} | {w['p95']:.0f} |"
        for role, w in result["words"].items()
    ]
    lines += ["", "## Blind classifiers", "", "Near 0.5 means that the texts alone do not give the answer away.", ""]
    lines += [
        f"- {name.replace('_', ' ')}: {e['value']:.3f} [{e['low']:.3f}, {e['high']:.3f}]"
        for name, e in result["blind"].items()
    ] or ["- too few pairs to tell"]
    return "\n".join(lines) + "\n"
