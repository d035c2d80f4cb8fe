"""What the pocket expert is trained on: labels, phrases, losses; and how it is measured."""

import math

import numpy as np
import pytest
import torch

from genrm.types import Detection
from pocket.expert_architecture import build_expert_processor
from pocket.expert_backbone import NO_KIND, box_labels
from pocket.expert_bench import average_precision_50
from pocket.expert_loss import Targets, dense_loss, set_loss
from pocket.expert_probe import average_precision, iou, match_detections
from pocket.expert_stage import MAX_PHRASES, draw_phrases, make_targets
from pocket.scenes import GRID, SIZE_PIXELS, Scene, Split, sample_scene
from pocket.vocabulary import KINDS


@pytest.fixture
def scene() -> Scene:
    """One with several objects."""
    return next(s for s in (sample_scene(Split.DEV, i) for i in range(50)) if len(s.objects) >= 5)


def exact(scene: Scene) -> tuple[Detection, ...]:
    return tuple(
        Detection(phrase=o.kind.name, score=0.9, box=tuple(map(float, o.box)), expert="e", model="m")
        for o in scene.objects
    )


def test_box_labels_say_what_the_scene_says(scene: Scene) -> None:
    cover, kinds, boxes = box_labels(scene)
    assert (kinds != NO_KIND).sum() == len(scene.objects)
    for placed in scene.objects:
        assert KINDS[kinds[placed.cell]].name == placed.kind.name
        assert tuple(boxes[placed.cell]) == placed.box
    assert {KINDS[n].name for n in cover if n != NO_KIND} <= {o.kind.name for o in scene.objects}


def test_phrases_are_asked_once_and_some_are_absent(scene: Scene) -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_phrases(scene, rng) for _ in range(50)]
    there = {o.kind.name for o in scene.objects}
    assert all(1 <= len(names) == len(set(names)) <= MAX_PHRASES for names in drawn)
    assert any(set(names) & there for names in drawn)
    assert all(set(names) - there for names in drawn)


def test_targets_are_the_objects_that_are_asked_for(scene: Scene) -> None:
    name = scene.objects[0].kind.name
    targets = make_targets(scene, ["unicorn", name], torch.eye(2))
    assert targets.phrases_N.tolist() == [1] * len(scene.of_kind(name))
    x1, _, x2, _ = (side / SIZE_PIXELS for side in scene.of_kind(name)[0].box)
    assert targets.boxes_N4[0, 0].item() == pytest.approx((x1 + x2) / 2)
    assert targets.boxes_N4[0, 2].item() == pytest.approx(x2 - x1)


def one_target(phrase: int = 0) -> Targets:
    return Targets(
        phrases_N=torch.tensor([phrase]),
        boxes_N4=torch.tensor([[0.5, 0.5, 0.2, 0.2]]),
        cells_N=torch.tensor([3]),
        label_map_PT=torch.eye(2),
    )


def test_the_set_loss_by_hand() -> None:
    """One query with the right box and logits 0 for both tokens: boxes cost nothing. Focal terms (α 0.25, γ 2, p 0.5,
    −ln p = 0.6931): the right token 0.25 · 0.25 · 0.6931, the wrong one 0.75 · 0.25 · 0.6931; together 0.25 · 0.6931,
    times the weight 2.
    """
    logits, boxes = torch.zeros(1, 1, 2), torch.tensor([[[0.5, 0.5, 0.2, 0.2]]])
    loss = set_loss(logits, boxes, torch.ones(1, 2, dtype=torch.bool), [one_target()])
    assert loss.item() == pytest.approx(2 * 0.25 * math.log(2), abs=1e-4)


def test_each_sample_is_compared_with_its_own_phrases() -> None:
    """Three samples that ask for different phrases, each found perfectly: what a target looked up in another sample's
    phrases would miss.
    """
    sure = torch.full((3, 1, 2), -20.0)
    for sample, phrase in enumerate((0, 1, 1)):
        sure[sample, 0, phrase] = 20.0
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.2]]]).expand(3, 1, 4)
    targets = [one_target(phrase) for phrase in (0, 1, 1)]
    assert set_loss(sure, boxes, torch.ones(3, 2, dtype=torch.bool), targets).item() == pytest.approx(0, abs=1e-5)


def test_the_proposal_of_an_object_is_that_of_its_cell() -> None:
    logits = torch.full((1, GRID * GRID + 5, 2), -20.0)
    logits[0, 5 + 3, 0] = 20.0  # five finer positions, then the cells
    boxes = torch.full((1, GRID * GRID + 5, 4), 0.9)
    boxes[0, 5 + 3] = torch.tensor([0.5, 0.5, 0.2, 0.2])
    mask = torch.ones(1, 2, dtype=torch.bool)
    assert dense_loss(logits, boxes, mask, [one_target()]).item() == pytest.approx(0, abs=1e-5)
    assert dense_loss(logits.roll(1, dims=1), boxes, mask, [one_target()]).item() > 5


def test_exact_boxes_have_perfect_precision_and_shifted_ones_none(scene: Scene) -> None:
    good = exact(scene)
    moved = tuple(d.model_copy(update={"box": tuple(side + 90 for side in d.box)}) for d in good)
    assert average_precision_50([scene], [good]) == pytest.approx(1)
    assert average_precision_50([scene], [moved]) < 0.1
    assert average_precision_50([scene], [()]) == 0
    assert average_precision(match_detections(scene, good), len(scene.objects)) == pytest.approx(1)


def test_one_object_is_found_once(scene: Scene) -> None:
    twice = match_detections(scene, exact(scene) * 2)
    assert sum(hit for _, hit in twice) == len(scene.objects)
    assert iou((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert iou((0, 0, 1, 1), (2, 2, 3, 3)) == 0


def test_every_name_is_words_of_the_vocabulary_and_other_words_are_spelled() -> None:
    tokenizer = build_expert_processor().tokenizer
    assert tokenizer(".").input_ids == [101, 1012, 102]
    for kind in KINDS:
        assert len(tokenizer(kind.name, add_special_tokens=False).input_ids) == len(kind.name.split())
    assert tokenizer.unk_token_id not in tokenizer("unicorn 7", add_special_tokens=False).input_ids
