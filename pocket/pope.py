"""The pocket world as a source of POPE's questions, in the fields that POPE publishes (arXiv 2305.10355).

Every scene gives pairs of questions: one for an object that is there, one for an object that is not, which is chosen as
the sampling says. What is frequent, and what comes together, is counted in scenes of the training split, where a policy
could have learned to expect it. Ids, choice and order follow from split, seed and number alone.
"""

import random
from functools import cache, partial
from typing import Any

from pocket.drawing import draw_scene
from pocket.made_rows import MadeRows
from pocket.scenes import Split, sample_scene
from training.policy.pope import SAMPLINGS, ObjectCounts, ask_for, choose_absent

EVERY = "all"
SAMPLING_WORDS = (*SAMPLINGS, EVERY)
"""What `pope=` may be; `all` takes the samplings in turn for every scene."""

_NUM_COUNTED_SCENES = 4_000


class PopeRows(MadeRows):
    """Rows with question_id, image, text, label and category (the sampling); even numbers are those with the label
    yes.
    """

    def __init__(self, split: Split, num_rows: int, *, sampling: str, seed: int = 0) -> None:
        super().__init__(num_rows)
        self._split, self._seed = split, seed
        self._samplings = [name for name in SAMPLINGS if sampling in (name, EVERY)]

    def make(self, index: int) -> dict[str, Any]:
        """One row."""
        pair, is_absent = divmod(index, 2)
        number, which = divmod(pair, len(self._samplings))
        sampling = self._samplings[which]
        scene = sample_scene(self._split, number + self._seed * 1_000_000)
        present = sorted({placed.kind.name for placed in scene.objects})
        rng = random.Random(f"{self._split} {self._seed} {number}")
        name = rng.choice(present)  # the same for all samplings, as drawn first
        if is_absent:
            [name] = choose_absent(sampling, present, count_training_scenes(), rng)
        image_id = f"pocket-{self._split}-{self._seed}-{number}"
        return {
            "question_id": f"{image_id}-{sampling}-{'no' if is_absent else 'yes'}",
            "image": partial(draw_scene, scene),
            "image_id": image_id,
            "text": ask_for(name),
            "label": "no" if is_absent else "yes",
            "category": sampling,
        }


@cache
def count_training_scenes() -> ObjectCounts:
    """What is in the first scenes of the training split, and together."""
    scenes = (sample_scene(Split.TRAIN, index) for index in range(_NUM_COUNTED_SCENES))
    return ObjectCounts.count({placed.kind.name for placed in scene.objects} for scene in scenes)
