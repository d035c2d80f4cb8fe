"""How well the shipped expert tells true statements about places from false ones, in scenes that it never saw.

The statements are those of the form "The cup is in the middle left." in `pocket:dev?n=40&candidates=8&seed=4`, each
once per scene; a false one names another row or another column. The figures in docs/design/experts.md are those of
`NUM_ROWS = 150`, as `pytest -s` shows them; those below are floors.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from experts.claims import Claim, extract_claims
from experts.contract import Inquiry
from experts.grounding_dino import GroundingDino
from experts.panel import ExpertPanel
from experts.reliability import Reliability
from experts.verify import PLACE_PRECISION, Check, verify_claims
from genrm.shipped import expert_folder
from genrm.types import Detection
from pocket.drawing import draw_scene
from pocket.scenes import SIZE_PIXELS, Scene, Split, sample_scene
from pocket.training_source import open_split

pytestmark = pytest.mark.usefixtures("emoji_font")
NUM_ROWS, SEED = 40, 4
BATCH_SIZE = 4
STATEMENT = re.compile(r"The [a-z ]+ is in the (?:upper|middle|lower) (?:left|center|right)\.")


@pytest.fixture(scope="module")
def expert() -> GroundingDino:
    return GroundingDino.load(str(expert_folder()), device="cpu")


@dataclass(frozen=True, kw_only=True)
class Said:
    """What is said about the places in a scene."""

    scene: Scene
    claims: tuple[Claim, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The objects to look for."""
        return tuple(sorted({claim.name for claim in self.claims}))

    def is_true(self, claim: Claim) -> bool:
        """Whether the one object of the name is exactly where the claim says."""
        assert claim.place is not None  # every statement is read
        return [placed.place for placed in self.scene.of_kind(claim.name)] == [claim.place.name]


def read_statements() -> list[Said]:
    said = []
    for index, row in enumerate(open_split(f"dev?n={NUM_ROWS}&candidates=8&seed={SEED}")):
        texts = sorted({text for answer in row["candidates"] for text in STATEMENT.findall(answer["text"])})
        if texts:
            scene = sample_scene(Split.DEV, index + SEED * 1_000_000)
            said.append(Said(scene=scene, claims=tuple(claim for text in texts for claim in extract_claims(text))))
    return said


def look(expert: GroundingDino, said: Sequence[Said]) -> Iterator[tuple[Said, tuple[Detection, ...]]]:
    for start in range(0, len(said), BATCH_SIZE):
        batch = said[start : start + BATCH_SIZE]
        found = expert.detect([Inquiry(image=draw_scene(each.scene), phrases=each.names) for each in batch])
        yield from zip(batch, found, strict=True)


def test_true_places_are_supported_and_false_ones_contradicted(expert: GroundingDino) -> None:
    found = Counter[tuple[bool, str]]()
    for said, boxes in look(expert, read_statements()):
        checks = {
            name: [Check(detections=tuple(b for b in boxes if b.phrase == name), reliability=Reliability())]
            for name in said.names
        }
        evidence = verify_claims(said.claims, checks, sizes=[(SIZE_PIXELS, SIZE_PIXELS)])
        found.update((said.is_true(claim), item.finding) for claim, item in zip(said.claims, evidence, strict=True))
    true, false = (sum(n for (is_true, _), n in found.items() if is_true is truth) for truth in (True, False))
    print(f"supported: {found[True, 'supported']} of {true} true, {found[False, 'supported']} of {false} false")
    supported, passed = found[True, "supported"] / true, found[False, "supported"] / false
    assert min(true, false) >= 30
    assert supported >= 0.95
    assert passed <= 0.25
    assert supported / (supported + passed) == pytest.approx(PLACE_PRECISION, abs=0.08)


async def test_the_shipped_expert_finds_a_drawn_object_at_its_place(expert: GroundingDino) -> None:
    scene, placed = next(
        (scene, placed)
        for scene in (sample_scene(Split.DEV, index) for index in range(100))
        for placed in scene.unique
        if placed.place == "upper left"
    )
    name = placed.kind.name
    panel = ExpertPanel([expert], timeout_seconds=60)
    texts = (f"The {name} is in the upper left corner of the image.", f"On the right, there is a {name}.")
    one, two = [(await panel.verify_text([draw_scene(scene)], text)).evidence[0] for text in texts]
    panel.close()
    assert (one.place, one.finding) == ("upper left", "supported")
    assert (two.place, two.finding) == ("right", "contradicted")
    assert one.probability is not None
    assert two.probability is not None
    assert two.probability < 0.5 < one.probability
