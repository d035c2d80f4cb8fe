"""Lines of evidence for training: mostly right, and silent about the order of the responses."""

import numpy as np
import pytest

from pocket.scenes import Split, sample_scene
from pocket.sightings import imperfect_sightings, mentioned_kinds
from pocket.tasks import draw_task


def test_names_are_found_in_any_number_and_compounds_are_not_their_parts() -> None:
    assert mentioned_kinds("Two hot dogs, a teddy bear and three mice.") == ("hot dog", "mouse", "teddy bear")
    assert mentioned_kinds("The sign says 12.") == ()


def test_the_order_of_the_responses_does_not_show() -> None:
    assert mentioned_kinds("a zebra or an apple") == mentioned_kinds("an apple or a zebra")


def test_without_mistakes_the_sightings_are_the_truth() -> None:
    scene = sample_scene(Split.DEV, 3)
    names = sorted({o.kind.name for o in scene.objects})
    found = imperfect_sightings(scene, " ".join(names), np.random.default_rng(0), miss_rate=0, false_alarm_rate=0)
    assert {s.phrase: s.places for s in found} == {n: tuple(o.place for o in scene.of_kind(n)) for n in names}


@pytest.mark.parametrize(("rates", "expected"), [({"miss_rate": 1.0}, 0), ({"false_alarm_rate": 1.0}, 1)])
def test_objects_are_missed_and_made_up_at_the_rates_given(rates: dict[str, float], expected: int) -> None:
    scene = sample_scene(Split.DEV, 3)
    there, absent = scene.objects[0].kind.name, scene.absent[0].name
    given = {"miss_rate": 0.0, "false_alarm_rate": 0.0} | rates
    name = there if "miss_rate" in rates else absent
    (found,) = imperfect_sightings(scene, name, np.random.default_rng(0), **given)
    assert len(found.places) == expected


def test_a_judging_task_with_evidence_has_its_line_before_the_responses() -> None:
    task = draw_task(sample_scene(Split.DEV, 5), np.random.default_rng(1), {"judge-evidence": 1.0})
    assert task.user.index("Object detectors") < task.user.index("First response:")
