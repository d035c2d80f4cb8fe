"""The fifteen kinds of question, in VL-RewardBench's three groups.

Each function takes a scene and a random generator and returns an `Exchange`, or None where the scene does not support
the question (no sign to read, no object that is the only one of its kind, …). Right and wrong answers are drawn so
that a reader who cannot see the picture does little better than chance: existence is half true, counts go up as often
as down.
"""

from collections.abc import Callable

import numpy as np

from pocket.descriptions import ask_caption, ask_description, ask_objects
from pocket.exchanges import (
    ErrorKind,
    Exchange,
    Group,
    absent_kind,
    category_phrase,
    count_phrase,
    look_up,
    look_up_category,
    look_up_mats,
    pick,
)
from pocket.scenes import PlacedObject, Scene
from pocket.vocabulary import CATEGORIES, COLUMNS, MAT_COLOURS, ROWS, SIGN_NUMBERS, SIGN_WORDS, Kind

Asker = Callable[[Scene, np.random.Generator], Exchange | None]


def _one_off(rng: np.random.Generator, number: int, low: int, high: int) -> int:
    """A count next to `number` within low..high, up as often as down."""
    step = 1 if rng.random() < 0.5 else -1
    return number + step if low <= number + step <= high else number - step


def ask_existence(scene: Scene, rng: np.random.Generator) -> Exchange:
    """Is there a dog?"""
    template = pick(rng, ("Is there {one} in the image?", "Can you see {one}?", "Does the image show {one}?"))
    return _existence(scene, rng, template, denial=False)


def ask_denial(scene: Scene, rng: np.random.Generator) -> Exchange:
    """Is it true that there is no dog? (Asked the other way round: yes denies.)"""
    template = pick(
        rng,
        (
            "Is it true that there is no {name} in the image?",
            "Is the image free of any {name}?",
            "Is there really no {name}?",
        ),
    )
    return _existence(scene, rng, template, denial=True)


def _existence(scene: Scene, rng: np.random.Generator, template: str, *, denial: bool) -> Exchange:
    present = bool(rng.random() < 0.5)
    seen = pick(rng, scene.objects).kind
    kind = seen if present else absent_kind(scene, rng, like=seen)
    there, not_there = f"there is {kind.one}", f"there is no {kind.name}"
    style = pick(rng, ("{word}, {text}.", "{word}, {text} in the image.", "{word}, I see that {text}."))
    say_there = style.format(word="No" if denial else "Yes", text=there)
    say_not = style.format(word="Yes" if denial else "No", text=not_there)
    claim_there, claim_not = kind.one, f"no {kind.name}"
    return Exchange(
        question=template.format(one=kind.one, name=kind.name),
        right=say_there if present else say_not,
        wrong=say_not if present else say_there,
        error_kind=ErrorKind.EXISTENCE,
        right_claim=claim_there if present else claim_not,
        wrong_claim=claim_not if present else claim_there,
        facts=(look_up(scene, kind.name),),
    )


def ask_choice(scene: Scene, rng: np.random.Generator) -> Exchange:
    """Is there a dog or a cat? (Exactly one of the two is there.)"""
    seen = pick(rng, scene.objects).kind
    other = absent_kind(scene, rng, like=seen)
    pair = [seen, other] if rng.random() < 0.5 else [other, seen]
    template = pick(rng, ("Is there {0} or {1} in the image?", "Which one is in the image, {0} or {1}?"))
    style = pick(rng, ("There is {0}.", "The image shows {0}.", "I can see {0}."))
    return Exchange(
        question=template.format(pair[0].one, pair[1].one),
        right=style.format(seen.one),
        wrong=style.format(other.one),
        error_kind=ErrorKind.OBJECT,
        right_claim=seen.one,
        wrong_claim=other.one,
        facts=(look_up(scene, seen.name), look_up(scene, other.name)),
        replaces_object=True,
    )


def ask_count(scene: Scene, rng: np.random.Generator) -> Exchange:
    """How many dogs are there?"""
    kind = pick(rng, scene.objects).kind
    if rng.random() < 0.5:  # prefer kinds that come more than once
        several = [o.kind for o in scene.objects if len(scene.of_kind(o.kind.name)) > 1]
        kind = pick(rng, several) if several else kind
    number = len(scene.of_kind(kind.name))
    if rng.random() < 0.08:
        kind, number = absent_kind(scene, rng, like=kind), 0
    wrong = _one_off(rng, number, 0, 6)
    template = pick(
        rng,
        (
            "How many {0} are there?",
            "How many {0} are in the image?",
            "Count the {0}.",
            "What is the number of {0} in the image?",
        ),
    )
    style = pick(rng, ("There are {0} in the image.", "I count {0}.", "The image shows {0}."))
    return _counted(scene, template.format(kind.plural), style, kind, number, wrong)


def _counted(scene: Scene, question: str, style: str, kind: Kind, number: int, wrong: int) -> Exchange:
    def say(n: int) -> str:
        text = style.format(count_phrase(kind, n))
        return text.replace("There are", "There is") if n == 1 else text

    return Exchange(
        question=question,
        right=say(number),
        wrong=say(wrong),
        error_kind=ErrorKind.COUNT,
        right_claim=count_phrase(kind, number),
        wrong_claim=count_phrase(kind, wrong),
        facts=(look_up(scene, kind.name),),
    )


def ask_category_count(scene: Scene, rng: np.random.Generator) -> Exchange:
    """How many animals are there?"""
    present = [o.kind.category for o in scene.objects if o.kind.category in CATEGORIES]
    category = pick(rng, present) if present and rng.random() < 0.9 else pick(rng, CATEGORIES)
    number = len(scene.of_category(category))
    wrong = _one_off(rng, number, 0, 8)
    template = pick(
        rng, ("How many {0} are there?", "How many {0} are in the image?", "How many {0} are there in total?")
    )
    style = pick(rng, ("I count {0}.", "The image shows {0}.", "There are {0} in the image."))
    right_claim, wrong_claim = category_phrase(category, number), category_phrase(category, wrong)
    return Exchange(
        question=template.format(category),
        right=style.format(right_claim).replace("There are one", "There is one"),
        wrong=style.format(wrong_claim).replace("There are one", "There is one"),
        error_kind=ErrorKind.COUNT,
        right_claim=right_claim,
        wrong_claim=wrong_claim,
        facts=(look_up_category(scene, category),),
    )


def ask_compare(scene: Scene, rng: np.random.Generator) -> Exchange | None:
    """Are there more dogs or more cats?"""
    kinds = list(dict.fromkeys(o.kind for o in scene.objects))
    if len(kinds) < 2:
        return None
    first, second = (kinds[int(i)] for i in rng.choice(len(kinds), size=2, replace=False))
    counts = len(scene.of_kind(first.name)), len(scene.of_kind(second.name))
    claims = {
        1: f"more {first.plural} than {second.plural}",
        -1: f"more {second.plural} than {first.plural}",
        0: f"as many {first.plural} as {second.plural}",
    }
    truth = int(np.sign(counts[0] - counts[1]))
    if truth == 0 and rng.random() < 0.6:
        return None
    wrong = pick(rng, [sign for sign in claims if sign != truth])
    template = pick(
        rng,
        (
            "Are there more {0} or more {1}?",
            "Which are there more of, {0} or {1}?",
            "Compare the number of {0} and {1}.",
        ),
    )
    style = pick(rng, ("There are {0}.", "The image shows {0}.", "I can see {0}."))
    return Exchange(
        question=template.format(first.plural, second.plural),
        right=style.format(claims[truth]),
        wrong=style.format(claims[wrong]),
        error_kind=ErrorKind.COUNT,
        right_claim=claims[truth],
        wrong_claim=claims[wrong],
        facts=(look_up(scene, first.name), look_up(scene, second.name)),
    )


def ask_left_right(scene: Scene, rng: np.random.Generator) -> Exchange | None:
    """Is the dog left or right of the cat?"""
    pairs = [(a, b) for a in scene.unique for b in scene.unique if abs(a.x - b.x) >= 40 and a.part[1] != b.part[1]]
    return _relation(scene, rng, pairs, ("left", "right"), lambda a, b: a.x < b.x, "to the {0} of")


def ask_above_below(scene: Scene, rng: np.random.Generator) -> Exchange | None:
    """Is the dog above or below the cat?"""
    pairs = [(a, b) for a in scene.unique for b in scene.unique if abs(a.y - b.y) >= 40 and a.part[0] != b.part[0]]
    return _relation(scene, rng, pairs, ("above", "below"), lambda a, b: a.y < b.y, "{0}")


def _relation(
    scene: Scene,
    rng: np.random.Generator,
    pairs: list[tuple[PlacedObject, PlacedObject]],
    words: tuple[str, str],
    is_first: Callable[[PlacedObject, PlacedObject], bool],
    phrase: str,
) -> Exchange | None:
    if not pairs:
        return None
    a, b = pick(rng, pairs)
    right, wrong = words if is_first(a, b) else words[::-1]
    options = " or ".join(words if rng.random() < 0.5 else words[::-1])
    link = f"{options} of" if words[0] == "left" else options
    template = pick(rng, ("Is the {0} {2} the {1}?", "Where is the {0} as seen from the {1}, {3}?"))
    style = pick(rng, ("The {0} is {2} the {1}.", "It is {2} the {1}.", "The {0} can be seen {2} the {1}."))
    names = a.kind.name, b.kind.name
    return Exchange(
        question=template.format(*names, link, options),
        right=style.format(*names, phrase.format(right)),
        wrong=style.format(*names, phrase.format(wrong)),
        error_kind=ErrorKind.RELATION,
        right_claim=right,
        wrong_claim=wrong,
        facts=(look_up(scene, names[0]), look_up(scene, names[1])),
    )


def ask_region(scene: Scene, rng: np.random.Generator) -> Exchange | None:
    """Where is the dog?"""
    if not scene.unique:
        return None
    placed = pick(rng, scene.unique)
    row, column = ROWS[placed.part[0]], COLUMNS[placed.part[1]]
    if rng.random() < 0.5:
        wrong = f"{pick(rng, [r for r in ROWS if r != row])} {column}"
    else:
        wrong = f"{row} {pick(rng, [c for c in COLUMNS if c != column])}"
    template = pick(
        rng, ("Where is the {0}?", "In which part of the image is the {0}?", "Where in the image can you see the {0}?")
    )
    style = pick(rng, ("The {0} is in the {1}.", "It is in the {1} of the image.", "The {0} can be seen in the {1}."))
    return Exchange(
        question=template.format(placed.kind.name),
        right=style.format(placed.kind.name, placed.place),
        wrong=style.format(placed.kind.name, wrong),
        error_kind=ErrorKind.RELATION,
        right_claim=placed.place,
        wrong_claim=wrong,
        facts=(look_up(scene, placed.kind.name),),
    )


def ask_attribute(scene: Scene, rng: np.random.Generator) -> Exchange | None:
    """What colour is the mat under the dog?"""
    candidates = [o for o in scene.unique if o.mat is not None]
    if not candidates:
        return None
    placed = pick(rng, candidates)
    others = [o.mat for o in scene.objects if o.mat not in (None, placed.mat)]
    wrong = (
        pick(rng, others) if others and rng.random() < 0.5 else pick(rng, [c for c in MAT_COLOURS if c != placed.mat])
    )
    template = pick(
        rng, ("What colour is the mat under the {0}?", "Which colour of mat is the {0} on?", "On what mat is the {0}?")
    )
    style = pick(rng, ("The mat is {1}.", "The {0} is on a {1} mat.", "It is a {1} mat."))
    return Exchange(
        question=template.format(placed.kind.name),
        right=style.format(placed.kind.name, placed.mat),
        wrong=style.format(placed.kind.name, wrong),
        error_kind=ErrorKind.ATTRIBUTE,
        right_claim=str(placed.mat),
        wrong_claim=str(wrong),
        facts=(look_up_mats(scene, placed.kind.name),),
    )


def ask_object_with_attribute(scene: Scene, rng: np.random.Generator) -> Exchange | None:
    """What is on the red mat?"""
    mats = [o.mat for o in scene.objects]
    candidates = [o for o in scene.objects if o.mat is not None and mats.count(o.mat) == 1]
    if not candidates:
        return None
    placed = pick(rng, candidates)
    others = [o.kind for o in scene.objects if o.kind != placed.kind]
    wrong = pick(rng, others) if others and rng.random() < 0.6 else absent_kind(scene, rng, like=placed.kind)
    template = pick(
        rng, ("What is on the {0} mat?", "Which object is on the {0} mat?", "What can you see on the {0} mat?")
    )
    style = pick(rng, ("There is {0} on the {1} mat.", "It is {0}.", "The object is {0}."))
    return Exchange(
        question=template.format(placed.mat),
        right=style.format(placed.kind.one, placed.mat),
        wrong=style.format(wrong.one, placed.mat),
        error_kind=ErrorKind.OBJECT,
        right_claim=placed.kind.one,
        wrong_claim=wrong.one,
        facts=(look_up_mats(scene, placed.kind.name), look_up_mats(scene, wrong.name)),
        replaces_object=True,
    )


def ask_reading(scene: Scene, rng: np.random.Generator) -> Exchange | None:
    """What does the sign say?"""
    if scene.sign is None:
        return None
    text = scene.sign.text
    alike = SIGN_NUMBERS if text in SIGN_NUMBERS else SIGN_WORDS
    wrong = pick(rng, [t for t in alike if t != text])
    question = pick(rng, ("What does the sign say?", "What is written on the sign?", "Read the sign."))
    style = pick(rng, ("The sign says {0}.", "It says {0}.", "The text on the sign is {0}."))
    return Exchange(
        question=question,
        right=style.format(text),
        wrong=style.format(wrong),
        error_kind=ErrorKind.ATTRIBUTE,
        right_claim=text,
        wrong_claim=wrong,
        facts=(f"sign: {text}",),
    )


QUESTION_KINDS: dict[str, tuple[Group, Asker]] = {
    "caption": (Group.GENERAL, ask_caption),
    "description": (Group.GENERAL, ask_description),
    "region": (Group.GENERAL, ask_region),
    "attribute": (Group.GENERAL, ask_attribute),
    "object-with-attribute": (Group.GENERAL, ask_object_with_attribute),
    "reading": (Group.GENERAL, ask_reading),
    "existence": (Group.HALLUCINATION, ask_existence),
    "denial": (Group.HALLUCINATION, ask_denial),
    "choice": (Group.HALLUCINATION, ask_choice),
    "objects": (Group.HALLUCINATION, ask_objects),
    "count": (Group.REASONING, ask_count),
    "category-count": (Group.REASONING, ask_category_count),
    "compare": (Group.REASONING, ask_compare),
    "left-right": (Group.REASONING, ask_left_right),
    "above-below": (Group.REASONING, ask_above_below),
}

OPEN_ENDED = frozenset({"caption", "description", "objects"})
"""The kinds with many right answers: they tell a part of what the picture shows, and which part is open."""
