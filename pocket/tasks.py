"""What the pocket base is taught to do with a scene: the tasks of the language stage.

The base lists, looks up, answers, criticises one response, revises one given feedback, verifies one against a
reference, makes an error on purpose, explains a verdict that it is told (`training.prompts`), and, a little, judges
pairs. Each link of the chain that judging needs is a task of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from genrm.prompts import FIRST, MARKER, SECOND, SYSTEM, render_sightings
from pocket.critiques import pair_critique, response_critique
from pocket.exchanges import (
    Exchange,
    absent_kind,
    count_phrase,
    look_up,
    look_up_category,
    look_up_mats,
    pick,
    sentence,
)
from pocket.rows import draw_exchange
from pocket.scenes import Scene
from pocket.sightings import imperfect_sightings
from pocket.vocabulary import CATEGORIES, COLUMNS, KINDS, MAT_COLOURS, ROWS, SIGN_TEXTS
from training.prompts import CritiqueStyle, guidance


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One turn about a scene: what the user says after the image, and what the assistant should write."""

    system: str
    user: str
    answer: str
    name: str


BASE_MIX = {
    "list": 0.13, "look-up": 0.2, "answer": 0.15, "criticise": 0.12, "revise": 0.05, "verify": 0.05, "edit": 0.06,
    "judge": 0.12, "judge-told": 0.12,
}  # fmt: skip
SECOND_BASE_MIX = {
    "list": 0.08, "look-up": 0.05, "answer": 0.15, "criticise": 0.25, "revise": 0.05, "verify": 0.04, "edit": 0.08,
    "judge": 0.05, "judge-told": 0.25,
}  # fmt: skip
"""Of the second round: more of what critiques stand on, less judging."""
POLICY_MIX = {"answer": 0.6, "verify": 0.08, "verify-short": 0.12, "revise": 0.08, "criticise": 0.08, "edit": 0.04}
"""Of the round that makes the policy of the base: short answers above all, which must look without writing first."""
SECOND_POLICY_MIX = {"answer": 0.3, "verify": 0.25, "verify-short": 0.35, "revise": 0.05, "criticise": 0.05}
"""Of its second round: to verify is the last thing that it learns."""
KIND_WEIGHTS = {
    "description": 3.0, "caption": 2.0, "objects": 1.5, "reading": 1.5, "region": 1.5, "attribute": 1.5,
    "object-with-attribute": 2.0, "left-right": 1.5, "above-below": 1.5, "category-count": 2.5, "compare": 1.5,
}  # fmt: skip
"""Kinds that few scenes support, or that take more practice, come up more often in training than in the benchmark."""
_EVIDENCE_SHARE, _DESCRIPTIVE_SHARE = 0.8, 0.2
"""How often the better response is told with a line of evidence, and how often a description is asked for."""
JUDGE_MIX = {"judge": 0.58, "judge-evidence": 0.25, "judge-fast": 0.07, "look-up": 0.1}


def draw_task(scene: Scene, rng: np.random.Generator, mix: dict[str, float]) -> Task:
    """A task about a scene; mix: share of each task, summing to 1."""
    name = str(rng.choice(list(mix), p=list(mix.values())))
    if name == "list":
        return Task(system="", user="List the objects.", answer=_listing(scene), name=name)
    if name == "look-up":
        return _look_up_task(scene, rng)
    if name == "judge-match":
        return _match_task(rng)
    kind, exchange = draw_exchange(scene, rng, weights=KIND_WEIGHTS)
    question = f"Question: {exchange.question}\n"
    if name == "answer":
        return Task(system="", user=exchange.question, answer=exchange.right, name=name)
    is_right = bool(rng.random() < 0.5)
    response = exchange.right if is_right else exchange.wrong
    if name == "criticise":
        user = f"{question}Response: {response}\nCriticise the response."
        return Task(system="", user=user, answer=response_critique(exchange, of_right=is_right), name=name)
    if name == "revise":
        feedback = response_critique(exchange, of_right=is_right)
        user = f"{question}Response: {response}\nFeedback: {feedback}\nRevise the response."
        return Task(system="", user=user, answer=exchange.right, name=name)
    if name in ("verify", "verify-short"):
        return _verifying_task(rng, exchange, name=name, is_right=is_right)
    if name == "edit":
        return Task(
            system="",
            user=f"{question}Response: {exchange.right}\nRewrite the response with one {exchange.error_kind} error.",
            answer=exchange.wrong,
            name=name,
        )
    return _judging_task(scene, rng, exchange, name=name, kind=kind, right_is_first=is_right)


def _verifying_task(rng: np.random.Generator, exchange: Exchange, *, name: str, is_right: bool) -> Task:
    """Whether a response agrees with a reference; what the two say where they may differ is written before the result,
    since to compare what stands side by side is one step of attention.
    """
    said = exchange.right_claim if is_right else exchange.wrong_claim
    reference, response = exchange.right, exchange.right if is_right else exchange.wrong
    if name == "verify-short":  # the same said in other words: one of the two says only where they differ
        if rng.random() < 0.5:
            response = sentence(said)
        else:
            reference = sentence(exchange.right_claim)
    return Task(
        system="",
        user=f"Question: {exchange.question}\nReference: {reference}\nResponse: {response}\n"
        "Does the response agree with the reference?",
        answer=f"Reference {exchange.right_claim}, response {said}. Result: {'Pass' if is_right else 'Fail'}",
        name=name,
    )


def _judging_task(
    scene: Scene, rng: np.random.Generator, exchange: Exchange, *, name: str, kind: str, right_is_first: bool
) -> Task:
    """A pair to judge: as it is, with a line of evidence, at once, or with the better response told."""
    label = FIRST if right_is_first else SECOND
    one, two = (exchange.right, exchange.wrong) if right_is_first else (exchange.wrong, exchange.right)
    user = f"Question: {exchange.question}\n"
    if name == "judge-evidence" or (name == "judge-told" and rng.random() < _EVIDENCE_SHARE):
        user += render_sightings(imperfect_sightings(scene, f"{user} {one} {two}", rng))
    user += f"First response: {one}\nSecond response: {two}"
    answer = pair_critique(exchange, right_is_first=right_is_first)
    if name == "judge-fast":
        answer = f"{MARKER} {label}"
    elif name == "judge-told":
        style: CritiqueStyle = "descriptive" if rng.random() < _DESCRIPTIVE_SHARE else "critique"
        user += guidance(label, style)
        answer = f"{_listing(scene)}\n{MARKER} {label}" if style == "descriptive" else answer
    return Task(system=SYSTEM, user=user, answer=answer, name=f"judge {kind}" if name == "judge" else name)


def _match_task(rng: np.random.Generator) -> Task:
    """Which of two claims a finding repeats: the last link alone, with claims of every form and no picture needed."""
    forms: tuple[Callable[[], str], ...] = (
        lambda: pick(rng, list(MAT_COLOURS)),
        lambda: pick(rng, SIGN_TEXTS),
        lambda: f"{pick(rng, ROWS)} {pick(rng, COLUMNS)}",
        lambda: pick(rng, ("left", "right", "above", "below")),
        lambda: f"{pick(rng, KINDS).name} {pick(rng, ROWS)} {pick(rng, COLUMNS)}",
        lambda: f"{pick(rng, KINDS).name} {pick(rng, list(MAT_COLOURS))} mat",
        lambda: count_phrase(pick(rng, KINDS), int(rng.integers(0, 6))),
        lambda: pick(rng, KINDS).one,
    )
    form = pick(rng, forms)
    one, two = form(), form()
    while two == one:
        two = form()
    label, truth = (FIRST, one) if rng.random() < 0.5 else (SECOND, two)
    user = f"Responses: {one} {FIRST}, {two} {SECOND}. Seen {truth}."
    return Task(system=SYSTEM, user=user, answer=f"So {truth} {label}.\n{MARKER} {label}", name="judge-match")


def _listing(scene: Scene) -> str:
    """All objects with their places and mats, in reading order."""
    items = [f"{o.kind.name} {o.place}" + (f" {o.mat} mat" if o.mat else "") for o in scene.objects]
    if scene.sign is not None:
        items.append(f"sign {scene.sign.text}")
    return ", ".join(items) + "."


def _look_up_task(scene: Scene, rng: np.random.Generator) -> Task:
    draw = rng.random()
    placed = pick(rng, scene.objects)
    mats = [o.mat for o in scene.objects]
    if draw < 0.2:
        category = (
            placed.kind.category if placed.kind.category in CATEGORIES and rng.random() < 0.6 else pick(rng, CATEGORIES)
        )
        user, answer = f"Find {category}.", look_up_category(scene, category)
    elif draw < 0.3 and scene.sign is not None:
        user, answer = "Find the sign.", f"sign: {scene.sign.text}"
    elif draw < 0.45:
        kind = placed.kind if rng.random() < 0.8 else absent_kind(scene, rng, like=placed.kind)
        user, answer = f"Mat of {kind.name}?", look_up_mats(scene, kind.name)
    elif draw < 0.6 and placed.mat is not None and mats.count(placed.mat) == 1:
        user, answer = f"What is on the {placed.mat} mat?", f"{placed.mat} mat: {placed.kind.name}"
    else:
        kind = placed.kind if rng.random() < 0.7 else absent_kind(scene, rng, like=placed.kind)
        user, answer = f"Find {kind.name}.", look_up(scene, kind.name)
    return Task(system="", user=user, answer=answer, name="look-up")
