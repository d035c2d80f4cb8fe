"""Measures a statement checker on sentences whose truth is known, and fits the scale of its probabilities to them.

Sentences are those that a panel would put to a checker (`experts.statements`), about the scenes of a split: of the
comparisons' answers those in which the right and the wrong one differ, as answers to their question; and every
statement that a description can make, right and wrong, as answers to "Describe the image in detail." So there are about
as many true as false ones. The report has AUC, the share called right at even odds, and the calibration error, over
all and by kind.

Run: `vl-genrm pocket bench-statements --split dev --seed 11 --n 1000 --fit genrm/weights/policy` wrote the shipped
`statements.json`; without `--fit` it measures what is there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from experts.contract import StatementInquiry
from experts.likelihood_checker import DEFAULT_QUESTION, LikelihoodChecker
from experts.statement_scale import StatementScale
from experts.statements import find_statements
from pocket.descriptions import Statement, list_statements
from pocket.drawing import draw_scene
from pocket.exchanges import sentence
from pocket.rows import Row, make_row
from pocket.scenes import Scene, Split
from training.statistics import bootstrap_calibration_error, share_with_interval


@dataclass(frozen=True, kw_only=True, slots=True)
class ToldStatement:
    """A statement about a scene, what it answers, and whether it is true. kind: of the question, or what a sentence of
    a description is about.
    """

    scene: Scene
    question: str
    text: str
    is_true: bool
    kind: str


def make_statements(split: Split, num_scenes: int, *, seed: int = 0) -> list[ToldStatement]:
    """The statements about `num_scenes` scenes of a split, those about one scene behind each other."""
    return [told for index in range(num_scenes) for told in _tell_scene(make_row(split, index, seed=seed), seed)]


def find_surprises(checker: LikelihoodChecker, told: Sequence[ToldStatement]) -> np.ndarray:
    """The checker's surprise at each statement, nats, (n,)."""
    surprises: list[float] = []
    for number in tqdm(_split_by_question(told), desc="scenes"):
        own = [told[i] for i in number]
        inquiry = StatementInquiry(
            images=(draw_scene(own[0].scene),), question=own[0].question, statements=tuple(each.text for each in own)
        )
        surprises += checker.find_surprises([inquiry])[0]
    return np.array(surprises)


def fit_scale(surprises: np.ndarray, is_true: np.ndarray) -> StatementScale:
    """The scale under which the truths are likeliest. Raises ValueError if surprise does not tell false statements."""
    weights = np.where(is_true, 0.5 / is_true.mean(), 0.5 / (1 - is_true.mean()))  # as often true as false
    model = LogisticRegression(C=np.inf).fit(surprises[:, None], is_true, sample_weight=weights)
    return StatementScale(
        intercept=float(model.intercept_[0]), slope=-float(model.coef_[0, 0]), num_statements=len(surprises)
    )


def report_statements(
    told: Sequence[ToldStatement], surprises: np.ndarray, scale: StatementScale
) -> dict[str, dict[str, object]]:
    """Per kind and `overall`: AUC, share called right, ECE, and how often true statements are called false."""
    kinds = np.array([each.kind for each in told])
    is_true = np.array([each.is_true for each in told])
    probabilities = np.array([scale.probability(surprise) for surprise in surprises])
    everything = np.ones(len(told), dtype=bool)
    parts = {"overall": everything} | {kind: kinds == kind for kind in sorted(set(kinds))}
    return {kind: _report(probabilities[part], is_true[part]) for kind, part in parts.items()}


def _report(probabilities: np.ndarray, is_true: np.ndarray) -> dict[str, Any]:
    called_true = probabilities >= 0.5
    confidences = np.maximum(probabilities, 1 - probabilities)
    is_mixed = 0 < is_true.sum() < len(is_true)
    return {
        "AUC": round(float(roc_auc_score(is_true, probabilities)), 4) if is_mixed else None,
        "right": share_with_interval(int((called_true == is_true).sum()), len(is_true)),
        "true called false": share_with_interval(int((~called_true & is_true).sum()), max(1, int(is_true.sum()))),
        "ECE": bootstrap_calibration_error(confidences, called_true == is_true),
    }


def _tell_scene(row: Row, seed: int) -> Iterator[ToldStatement]:
    scene = row.scene
    right, wrong = row.response_a, row.response_b
    if row.label == "B":
        right, wrong = wrong, right
    of_right, of_wrong = find_statements(right), find_statements(wrong)
    for text in (*of_right, *of_wrong):
        if (text in of_right) != (text in of_wrong):
            is_true = text in of_right
            yield ToldStatement(scene=scene, question=row.question, text=text, is_true=is_true, kind=row.kind)
    rng = np.random.default_rng([seed, scene.look_seed])
    for statement in list_statements(scene, rng):
        for words, is_true in ((statement.right, True), (statement.wrong, False)):
            kind = f"description: {_name(statement)}"
            for text in find_statements(sentence(words)):
                yield ToldStatement(scene=scene, question=DEFAULT_QUESTION, text=text, is_true=is_true, kind=kind)


def _name(statement: Statement) -> str:
    if statement.right_claim.startswith("sign "):
        return "sign"
    return "mat" if statement.right_claim.endswith(" mat") else str(statement.error_kind)


def _split_by_question(told: Sequence[ToldStatement]) -> list[list[int]]:
    """Numbers of neighbouring statements about one scene that answer one question, each text once."""
    runs: list[list[int]] = []
    for number, each in enumerate(told):
        before = told[runs[-1][-1]] if runs else None
        is_same = before is not None and before.scene is each.scene and before.question == each.question
        if is_same and each.text not in {told[i].text for i in runs[-1]}:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs
