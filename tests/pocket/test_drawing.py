"""Drawing: reproducible, as large as promised, and the shifted look is another look."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pocket.drawing import (
    FontMissingError,
    _glyph,
    _ink,
    draw_scene,
    emoji_font_path,
    is_monochrome,
    second_font_path,
)
from pocket.scenes import SIZE_PIXELS, Split, sample_scene
from pocket.vocabulary import KIND_BY_NAME

pytestmark = pytest.mark.usefixtures("emoji_font")


def test_a_scene_is_drawn_the_same_twice() -> None:
    scene = sample_scene(Split.TRAIN, 5)
    assert np.array_equal(np.asarray(draw_scene(scene)), np.asarray(draw_scene(scene)))


def test_pictures_are_rgb_of_the_promised_size() -> None:
    picture = draw_scene(sample_scene(Split.SHIFTED, 0))
    assert (picture.mode, picture.size) == ("RGB", (SIZE_PIXELS, SIZE_PIXELS))


def test_an_object_changes_the_picture_where_its_box_is() -> None:
    scene = next(s for s in (sample_scene(Split.DEV, i) for i in range(99)) if len(s.objects) == 1 and not s.sign)
    x1, y1, x2, y2 = scene.objects[0].box
    pixels = np.asarray(draw_scene(scene)).astype(int)
    inside = pixels[y1:y2, x1:x2].reshape(-1, 3).std(axis=0).max()
    outside = np.delete(pixels, np.s_[y1:y2], axis=0)[:, : max(x1 - 12, 1)].reshape(-1, 3).std(axis=0).max()
    assert inside > outside


def test_a_configured_font_that_is_missing_falls_back_to_the_known_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENRM_POCKET_FONT", "/nowhere/font.ttf")
    assert emoji_font_path().is_file()


def test_without_any_font_the_error_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pocket.drawing._FONT_FILES", ())
    monkeypatch.delenv("GENRM_POCKET_FONT", raising=False)
    with pytest.raises(FontMissingError, match="fonts-noto-color-emoji"):
        emoji_font_path()


def test_the_sign_stands_where_the_scene_says(tmp_path: Path) -> None:
    scene = next(s for s in (sample_scene(Split.DEV, i) for i in range(99)) if s.sign and s.sign.x < 100)
    assert scene.sign is not None
    picture = np.asarray(draw_scene(scene)).astype(int)
    patch = picture[scene.sign.y - 8 : scene.sign.y + 8, scene.sign.x - 12 : scene.sign.x + 12]
    assert np.ptp(patch) > 100, "a board and its ink differ clearly"


def test_the_monochrome_look_falls_on_every_group_of_questions() -> None:
    """Rows take their group from their number in turn: a look tied to the number would be one group's alone."""
    drawn = {index % 3 for index in range(60) if is_monochrome(sample_scene(Split.SHIFTED, index))}
    assert drawn == ({0, 1, 2} if second_font_path() else set())
    assert not any(is_monochrome(sample_scene(Split.HELD_OUT, index)) for index in range(60))


@pytest.mark.skipif(second_font_path() is None, reason="the second font (Symbola) is not installed")
def test_an_object_that_the_second_font_lacks_is_still_a_picture_of_it() -> None:
    """Symbola has a dog and no chair: the chair keeps its colours, the dog is one ink; neither is a "missing" sign."""
    chair, dog = (np.asarray(_glyph(KIND_BY_NAME[name].glyph, ink=(40, 40, 48))) for name in ("chair", "dog"))
    solid = [picture[picture[..., 3] == 255][:, :3] for picture in (chair, dog)]
    assert len(np.unique(solid[0], axis=0)) > 10
    assert np.unique(solid[1], axis=0).tolist() == [[40, 40, 48]]


def test_a_monochrome_glyph_is_light_on_a_black_mat() -> None:
    placed = next(o for i in range(99) for o in sample_scene(Split.DEV, i).objects if o.mat == "black")
    assert min(_ink(placed)) > 200
    assert max(_ink(replace(placed, mat="white"))) < 60
