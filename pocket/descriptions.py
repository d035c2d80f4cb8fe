"""Questions that are answered with several statements: a caption, a list of objects, a description of several
sentences.

One statement of the answer is made false; the others stay word for word, so that a judge has to find what differs
before it can look.
"""

from dataclasses import dataclass

import numpy as np

from pocket.exchanges import (
    ErrorKind,
    Exchange,
    absent_kind,
    count_phrase,
    join_words,
    look_up,
    look_up_mats,
    pick,
    sentence,
)
from pocket.scenes import PlacedObject, Scene
from pocket.vocabulary import COLUMNS, MAT_COLOURS, ROWS, SIGN_TEXTS, Kind


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """A true statement and one way to make it false. claims are the short forms; facts decide between them."""

    right: str
    wrong: str
    right_claim: str
    wrong_claim: str
    facts: tuple[str, ...]
    error_kind: ErrorKind
    replaces_object: bool = False


def ask_caption(scene: Scene, rng: np.random.Generator) -> Exchange:
    """Describe the image in one sentence: up to four kinds with their counts."""
    kinds = _some_kinds(scene, rng, most=4)
    phrases = [count_phrase(kind, len(scene.of_kind(kind.name))) for kind in kinds]
    edited = int(rng.integers(len(kinds)))
    counts = [len(scene.of_kind(kind.name)) for kind in kinds]
    unequal = [(i, j) for i in range(len(kinds)) for j in range(i) if counts[i] != counts[j]]
    draw = rng.random()
    wrong_phrases = list(phrases)
    facts: tuple[str, ...]
    if draw < 0.35 and unequal:  # swap the counts of two kinds
        i, j = pick(rng, unequal)
        edited = min(i, j)
        wrong_phrases[i], wrong_phrases[j] = count_phrase(kinds[i], counts[j]), count_phrase(kinds[j], counts[i])
        facts, error = (look_up(scene, kinds[edited].name),), ErrorKind.SWAP
    elif draw < 0.6:
        statement = _count_statement(scene, rng, kinds[edited])
        wrong_phrases[edited], facts, error = statement.wrong_claim, statement.facts, ErrorKind.COUNT
    else:
        statement = _object_statement(scene, rng, kinds[edited])
        wrong_phrases[edited], facts, error = statement.wrong_claim, statement.facts, statement.error_kind
    question = pick(
        rng,
        (
            "Describe the image in one sentence.",
            "Write a caption for the image.",
            "What does the image show, in short?",
        ),
    )
    style = pick(rng, ("The image shows {0}.", "There {1} {0}.", "In the image there {1} {0}."))
    return Exchange(
        question=question,
        right=style.format(join_words(phrases), "is" if phrases[0].startswith("one ") else "are"),
        wrong=style.format(join_words(wrong_phrases), "is" if wrong_phrases[0].startswith("one ") else "are"),
        error_kind=error,
        right_claim=phrases[edited],
        wrong_claim=wrong_phrases[edited],
        facts=facts,
        replaces_object=len(facts) == 2,
    )


def ask_objects(scene: Scene, rng: np.random.Generator) -> Exchange:
    """Which objects are there? The false answer names one that is not: in place of one, or added where the true one
    adds another.
    """
    kinds = _some_kinds(scene, rng, most=4)
    names = [kind.one for kind in kinds]
    edited = len(kinds) - 1 if rng.random() < 0.4 else int(rng.integers(len(kinds)))
    other = absent_kind(scene, rng, like=kinds[edited])
    wrong_names = list(names)
    wrong_names[edited] = other.one
    question = pick(
        rng,
        (
            "Which objects are in the image?",
            "What objects can you see?",
            "Name some objects in the image.",
            "What is in the image?",
        ),
    )
    style = pick(rng, ("I can see {0}.", "The image contains {0}.", "The objects are {0}."))
    added = edited == len(kinds) - 1 and len(kinds) > 1 and rng.random() < 0.5
    if added:
        style = pick(rng, ("I can see {0}. There is also {1}.", "The image contains {0}. It also contains {1}."))
        right, wrong = (style.format(join_words(n[:-1]), n[-1]) for n in (names, wrong_names))
    else:
        right, wrong = style.format(join_words(names)), style.format(join_words(wrong_names))
    return Exchange(
        question=question,
        right=right,
        wrong=wrong,
        error_kind=ErrorKind.ADDITION if added else ErrorKind.OBJECT,
        right_claim=kinds[edited].one,
        wrong_claim=other.one,
        facts=(look_up(scene, kinds[edited].name), look_up(scene, other.name)),
        replaces_object=True,
    )


def ask_description(scene: Scene, rng: np.random.Generator) -> Exchange:
    """Describe the image in detail: two to four sentences of different kinds, one of them false in the wrong answer."""
    statements = list_statements(scene, rng)
    order = rng.permutation(len(statements))[: int(rng.integers(2, 5))]
    chosen = [statements[int(i)] for i in order]
    edited = int(rng.integers(len(chosen)))
    question = pick(
        rng,
        (
            "Describe the image in detail.",
            "Describe the image in a few sentences.",
            "Tell me what you see in the image.",
        ),
    )
    right = [sentence(s.right) for s in chosen]
    wrong = [sentence(s.wrong if i == edited else s.right) for i, s in enumerate(chosen)]
    return Exchange(
        question=question,
        right=" ".join(right),
        wrong=" ".join(wrong),
        error_kind=chosen[edited].error_kind,
        right_claim=chosen[edited].right_claim,
        wrong_claim=chosen[edited].wrong_claim,
        facts=chosen[edited].facts,
        replaces_object=chosen[edited].replaces_object,
    )


def describe_with_errors(scene: Scene, rng: np.random.Generator) -> tuple[str, float]:
    """A description of two to four sentences, each of them false as often as true, and the share that is true."""
    statements = list_statements(scene, rng)
    order = rng.permutation(len(statements))[: int(rng.integers(2, 5))]
    truths = rng.random(len(order)) < 0.5
    chosen = [statements[int(i)] for i in order]
    sentences = [sentence(s.right if truth else s.wrong) for s, truth in zip(chosen, truths, strict=True)]
    return " ".join(sentences), float(truths.mean())


def _some_kinds(scene: Scene, rng: np.random.Generator, *, most: int) -> list[Kind]:
    kinds = list(dict.fromkeys(o.kind for o in scene.objects))
    order = rng.permutation(len(kinds))[:most]
    return [kinds[int(i)] for i in order]


def list_statements(scene: Scene, rng: np.random.Generator) -> list[Statement]:
    """At most one statement about each kind of object, so that no sentence repeats or contradicts another, and one
    about the sign.
    """
    statements: list[Statement] = []
    for kind in dict.fromkeys(o.kind for o in scene.objects):
        placed = scene.of_kind(kind.name)
        makers = [lambda k=kind: _object_statement(scene, rng, k), lambda k=kind: _count_statement(scene, rng, k)]
        if len(placed) == 1:
            makers.append(lambda o=placed[0]: _place_statement(scene, rng, o))
            if placed[0].mat is not None:
                makers.append(lambda o=placed[0]: _mat_statement(scene, rng, o))
        statements.append(pick(rng, makers)())
    if scene.sign is not None:
        statements.append(_sign_statement(scene.sign.text, rng))
    if len(statements) < 2:
        absent = absent_kind(scene, rng)
        statements.append(_absence_statement(scene, rng, absent))
    return statements


def _object_statement(scene: Scene, rng: np.random.Generator, kind: Kind) -> Statement:
    other = absent_kind(scene, rng, like=kind)
    number = len(scene.of_kind(kind.name))
    right, wrong = count_phrase(kind, number), count_phrase(other, number)
    be = "is" if number == 1 else "are"
    return Statement(
        right=f"there {be} {right}",
        wrong=f"there {be} {wrong}",
        right_claim=right,
        wrong_claim=wrong,
        facts=(look_up(scene, kind.name), look_up(scene, other.name)),
        error_kind=ErrorKind.OBJECT,
        replaces_object=True,
    )


def _count_statement(scene: Scene, rng: np.random.Generator, kind: Kind) -> Statement:
    number = len(scene.of_kind(kind.name))
    other = number + 1 if number == 1 or rng.random() < 0.5 else number - 1
    right, wrong = count_phrase(kind, number), count_phrase(kind, other)
    return Statement(
        right=f"there {'is' if number == 1 else 'are'} {right}",
        wrong=f"there {'is' if other == 1 else 'are'} {wrong}",
        right_claim=right,
        wrong_claim=wrong,
        facts=(look_up(scene, kind.name),),
        error_kind=ErrorKind.COUNT,
    )


def _place_statement(scene: Scene, rng: np.random.Generator, placed: PlacedObject) -> Statement:
    row, column = ROWS[placed.part[0]], COLUMNS[placed.part[1]]
    row_moved = rng.random() < 0.5
    wrong = (
        f"{pick(rng, [r for r in ROWS if r != row])} {column}"
        if row_moved
        else f"{row} {pick(rng, [c for c in COLUMNS if c != column])}"
    )
    name = placed.kind.name
    return Statement(
        right=f"the {name} is in the {placed.place}",
        wrong=f"the {name} is in the {wrong}",
        right_claim=f"{name} {placed.place}",
        wrong_claim=f"{name} {wrong}",
        facts=(look_up(scene, name),),
        error_kind=ErrorKind.RELATION,
    )


def _mat_statement(scene: Scene, rng: np.random.Generator, placed: PlacedObject) -> Statement:
    other = pick(rng, [colour for colour in MAT_COLOURS if colour != placed.mat])
    name = placed.kind.name
    return Statement(
        right=f"the {name} is on a {placed.mat} mat",
        wrong=f"the {name} is on a {other} mat",
        right_claim=f"{name} {placed.mat} mat",
        wrong_claim=f"{name} {other} mat",
        facts=(look_up_mats(scene, name),),
        error_kind=ErrorKind.ATTRIBUTE,
    )


def _sign_statement(text: str, rng: np.random.Generator) -> Statement:
    other = pick(rng, [t for t in SIGN_TEXTS if t != text and t.isdigit() == text.isdigit()])
    return Statement(
        right=f"the sign says {text}",
        wrong=f"the sign says {other}",
        right_claim=f"sign {text}",
        wrong_claim=f"sign {other}",
        facts=(f"sign: {text}",),
        error_kind=ErrorKind.ATTRIBUTE,
    )


def _absence_statement(scene: Scene, rng: np.random.Generator, kind: Kind) -> Statement:
    return Statement(
        right=f"there is no {kind.name}",
        wrong=f"there is {kind.one}",
        right_claim=f"no {kind.name}",
        wrong_claim=kind.one,
        facts=(look_up(scene, kind.name),),
        error_kind=ErrorKind.EXISTENCE,
    )
