"""Scenes: exact, reproducible, within the bounds that questions rely on."""

from itertools import combinations

import pytest

from pocket.scenes import GRID, MAX_OBJECTS, SIZE_PIXELS, Split, sample_scene
from pocket.vocabulary import CATEGORIES, KINDS, MAT_COLOURS, SIGN_TEXTS

SCENES = [sample_scene(split, index) for split in Split for index in range(150)]


def test_there_are_at_least_sixty_kinds_with_distinct_names_and_glyphs() -> None:
    assert len(KINDS) >= 60
    assert len({kind.name for kind in KINDS}) == len({kind.glyph for kind in KINDS}) == len(KINDS)


def test_every_counted_category_has_several_kinds() -> None:
    for category in CATEGORIES:
        assert sum(kind.category == category for kind in KINDS) >= 3


def test_same_split_and_index_give_the_same_scene() -> None:
    assert sample_scene(Split.DEV, 7) == sample_scene(Split.DEV, 7)


def test_splits_do_not_share_scenes() -> None:
    layouts = [tuple((o.kind.name, o.x, o.y) for o in scene.objects) for scene in SCENES if len(scene.objects) > 2]
    assert len(set(layouts)) == len(layouts)


def test_scenes_hold_one_to_eight_objects() -> None:
    counts = {len(scene.objects) for scene in SCENES}
    assert counts == set(range(1, MAX_OBJECTS + 1))


def test_centres_lie_in_different_cells_and_inside_the_picture() -> None:
    for scene in SCENES:
        cells = [o.cell for o in scene.objects]
        assert len(set(cells)) == len(cells)
        assert all(0 <= cell < GRID * GRID for cell in cells)
        assert all(0 < o.x < SIZE_PIXELS and 0 < o.y < SIZE_PIXELS for o in scene.objects)


def test_two_objects_of_one_kind_never_share_a_part_of_the_picture() -> None:
    for scene in SCENES:
        for one, two in combinations(scene.objects, 2):
            assert one.kind != two.kind or one.part != two.part


def test_a_part_name_follows_from_the_centre() -> None:
    for scene in SCENES:
        for placed in scene.objects:
            row, column = placed.part
            assert (row, column) == (placed.y // 56, placed.x // 56)
            assert placed.place.split() == [("upper", "middle", "lower")[row], ("left", "center", "right")[column]]


def test_some_neighbours_overlap_but_no_centre_is_covered_completely() -> None:
    overlaps = 0
    for scene in SCENES:
        for one, two in combinations(scene.objects, 2):
            distance = ((one.x - two.x) ** 2 + (one.y - two.y) ** 2) ** 0.5
            overlaps += distance < (one.size + two.size) / 2
            assert distance > 10
    assert overlaps > 50


def test_mats_and_signs_come_from_the_vocabulary() -> None:
    assert {o.mat for scene in SCENES for o in scene.objects} == {None, *MAT_COLOURS}
    assert {scene.sign.text for scene in SCENES if scene.sign} <= set(SIGN_TEXTS)
    assert any(scene.sign is None for scene in SCENES)


@pytest.mark.parametrize("split", [Split.TRAIN, Split.SHIFTED])
def test_sizes_of_the_shifted_split_reach_further(split: Split) -> None:
    sizes = [o.size for scene in SCENES if scene.split is split for o in scene.objects]
    assert (max(sizes) > 60) == (split is Split.SHIFTED)
