"""What detectors would report about a scene, with the mistakes that detectors make.

The judge is trained on lines of evidence that are mostly right, so that it learns to use them and not to believe them
blindly. The real pocket expert takes this module's place once the judge is deployed.
"""

import re

import numpy as np

from genrm.prompts import place_in_image
from genrm.types import Sighting
from pocket.exchanges import pick
from pocket.scenes import SIZE_PIXELS, Scene
from pocket.vocabulary import COLUMNS, KINDS, ROWS

MISS_RATE, FALSE_ALARM_RATE = 0.05, 0.03
_FORMS = {form: kind.name for kind in KINDS for form in (kind.plural, kind.name)}
_MENTION = re.compile(r"\b(" + "|".join(sorted(_FORMS, key=len, reverse=True)) + r")\b", re.IGNORECASE)


def mentioned_kinds(text: str) -> tuple[str, ...]:
    """Names of the kinds that a pocket text speaks of ("hot dogs" is no dog), in alphabetical order: a line of evidence
    must not tell in which order the responses stand.
    """
    return tuple(sorted({_FORMS[match.lower()] for match in _MENTION.findall(text)}))


def imperfect_sightings(
    scene: Scene,
    text: str,
    rng: np.random.Generator,
    *,
    miss_rate: float = MISS_RATE,
    false_alarm_rate: float = FALSE_ALARM_RATE,
) -> tuple[Sighting, ...]:
    """Sightings of the kinds that a text mentions.

    miss_rate: share of objects that are overlooked; false_alarm_rate: share of names that get one object too many, at
    any place; both in [0, 1].
    """
    sightings = []
    for name in mentioned_kinds(text):
        places = [
            place_in_image(o.x, o.y, width=SIZE_PIXELS, height=SIZE_PIXELS)
            for o in scene.of_kind(name)
            if rng.random() >= miss_rate
        ]
        if rng.random() < false_alarm_rate:
            places.insert(int(rng.integers(len(places) + 1)), f"{pick(rng, ROWS)} {pick(rng, COLUMNS)}")
        sightings.append(Sighting(phrase=name, places=tuple(places)))
    return tuple(sightings)
