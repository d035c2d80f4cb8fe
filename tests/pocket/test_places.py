"""How well the shipped expert tells true statements about places from false ones, in scenes that it never saw.

The statements are those of the form "The cup is in the middle left." in `pocket:dev?n=150&candidates=8&seed=4`, each
once per scene; a false one names another row or another column. The figures are in docs/design/experts.md (shown by
`pytest -s`); those below are floors.
"""

import re
from collections import Counter

import pytest

from experts.claims import extract_claims
from experts.contract import Inquiry
from experts.grounding_dino import GroundingDino
from experts.panel import ExpertPanel
from experts.reliability import Reliability
from experts.verify import PLACE_PRECISION, Check, verify_claims
from genrm.shipped import expert_folder
from pocket.drawing import draw_scene
from pocket.scenes import SIZE_PIXELS, Split, sample_scene
from pocket.training_source import open_split

pytestmark = pytest.mark.usefixtures("emoji_font")
NUM_ROWS, SEED = 150, 4
STATEMENT = re.compile(r"The [a-z ]+ is in the (?:upper|middle|lower) (?:left|center|right)\.")


@pytest.fixture(scope="module")
def expert() -> GroundingDino:
    return GroundingDino.load(str(expert_folder()), device="cpu")


def test_true_places_are_supported_and_false_ones_contradicted(expert: GroundingDino) -> None:
    found = Counter[tuple[bool, str]]()
    for index, row in enumerate(open_split(f"dev?n={NUM_ROWS}&candidates=8&seed={SEED}")):
        scene = sample_scene(Split.DEV, index + SEED * 1_000_000)
        said = {text for answer in row["candidates"] for text in STATEMENT.findall(answer["text"])}
        claims = [claim for text in sorted(said) for claim in extract_claims(text)]
        names = tuple(sorted({claim.name for claim in claims}))
        if not names:
            continue
        [boxes] = expert.detect([Inquiry(image=draw_scene(scene), phrases=names)])
        checks = {
            name: [Check(detections=tuple(b for b in boxes if b.phrase == name), reliability=Reliability())]
            for name in names
        }
        evidence = verify_claims(claims, checks, sizes=[(SIZE_PIXELS, SIZE_PIXELS)])
        assert len(evidence) == len(said)  # every statement is read
        for claim, item in zip(claims, evidence, strict=True):
            is_true = [placed.place for placed in scene.of_kind(claim.name)] == [item.place]
            found[is_true, item.finding] += 1
    true, false = (sum(n for (is_true, _), n in found.items() if is_true is truth) for truth in (True, False))
    print(f"{found[True, 'supported']} of {true} true supported; {found[False, 'contradicted']} of {false} false not")
    supported, passed = found[True, "supported"] / true, found[False, "supported"] / false
    assert (true, false) == (155, 227)
    assert supported >= 0.97
    assert passed <= 0.18
    assert supported / (supported + passed) == pytest.approx(PLACE_PRECISION, abs=0.03)


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
