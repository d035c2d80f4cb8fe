"""The README's pictures are as large as they may be, and the script that makes them says when one is not."""

from pathlib import Path

import pytest
from PIL import Image

from bench.readme_pictures import CARD_SAMPLE, FOLDER, save_small
from service.samples import load_shipped_samples


@pytest.mark.parametrize(
    ("name", "width", "max_bytes"), [("playground.png", 1280, 300_000), ("verdict-card.png", 1200, 200_000)]
)
def test_a_picture_of_the_readme_has_its_width_and_is_small(name: str, width: int, max_bytes: int) -> None:
    with Image.open(FOLDER / name) as picture:
        assert picture.width == width
    assert (FOLDER / name).stat().st_size <= max_bytes


def test_the_sample_on_the_card_ships() -> None:
    assert CARD_SAMPLE in {sample.id for sample in load_shipped_samples()}


def test_a_picture_over_its_limit_is_an_error(tmp_path: Path) -> None:
    picture = Image.effect_noise((200, 200), 90).convert("RGB")
    save_small(picture, tmp_path / "new" / "small.png", 100_000)
    with pytest.raises(SystemExit, match="the limit is 10"):
        save_small(picture, tmp_path / "large.png", 10)
