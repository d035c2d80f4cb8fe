"""Grounding DINO on transformers' own classes, small and randomly initialised: prompts, thresholds, boxes, batches."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from experts.contract import ExpertError, Inquiry
from experts.grounding_dino import GroundingDino, GroundingOptions
from genrm.errors import ModelLoadError
from pocket.expert_architecture import build_expert, build_expert_processor
from pocket.vocabulary import KINDS

EVERYTHING = GroundingOptions(box_threshold=0.0, text_threshold=0.0, nms_iou=1.0, batch_size=3)
NAMES = tuple(kind.name for kind in KINDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model whose boxes mean nothing."""
    path = tmp_path_factory.mktemp("expert")
    torch.manual_seed(0)
    build_expert().save_pretrained(path)
    build_expert_processor().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def expert(folder: Path) -> GroundingDino:
    """Keeps every box for every phrase."""
    return GroundingDino.load(str(folder), options=EVERYTHING)


@pytest.fixture
def photograph() -> Image.Image:
    """Coloured noise, wider than high."""
    return Image.effect_noise((90, 60), 80).convert("RGB")


def test_every_phrase_is_asked_for_however_many_there_are(expert: GroundingDino, photograph: Image.Image) -> None:
    (found,) = expert.detect([Inquiry(image=photograph, phrases=NAMES)])
    assert {d.phrase for d in found} == set(NAMES)


def test_boxes_lie_in_the_original_image(expert: GroundingDino, photograph: Image.Image) -> None:
    (found,) = expert.detect([Inquiry(image=photograph, phrases=("dog",))])
    assert found
    for detection in found:
        x1, y1, x2, y2 = detection.box
        assert 0 <= x1 < x2 <= 90
        assert 0 <= y1 < y2 <= 60
        assert (detection.expert, detection.model) == ("grounding-dino", expert.model)


def test_results_do_not_depend_on_the_batch(expert: GroundingDino, photograph: Image.Image) -> None:
    other = Image.effect_noise((60, 100), 20).convert("RGB")
    alone = expert.detect([Inquiry(image=photograph, phrases=("hot dog", "bus"))])[0]
    together = expert.detect(
        [
            Inquiry(image=other, phrases=("zebra", "cat", "tv", "cell phone")),
            Inquiry(image=photograph, phrases=("hot dog", "bus")),
        ]
    )[1]
    for one, two in zip(alone, together, strict=True):
        assert one.phrase == two.phrase
        assert one.score == pytest.approx(two.score, abs=1e-4)
        assert one.box == pytest.approx(two.box, abs=0.05)


def test_the_best_score_comes_first(expert: GroundingDino, photograph: Image.Image) -> None:
    (found,) = expert.detect([Inquiry(image=photograph, phrases=("dog", "cat"))])
    scores = [d.score for d in found]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("options", [GroundingOptions(box_threshold=1.0), GroundingOptions(text_threshold=1.0)])
def test_both_thresholds_keep_boxes_out(
    expert: GroundingDino, photograph: Image.Image, options: GroundingOptions
) -> None:
    assert expert.with_options(options).detect([Inquiry(image=photograph, phrases=("dog",))]) == [()]


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (3, 2)])
def test_a_sliver_of_an_image_is_looked_at(expert: GroundingDino, size: tuple[int, int]) -> None:
    (found,) = expert.detect([Inquiry(image=Image.new("RGB", size), phrases=("dog",))])
    assert all(d.box[2] <= size[0] and d.box[3] <= size[1] for d in found)


@pytest.mark.parametrize("phrase", ["", "...", "word " * 200, "x" * 101])
def test_what_cannot_be_asked_is_not_covered(expert: GroundingDino, phrase: str) -> None:
    assert not expert.covers(phrase)


def test_a_phrase_in_a_script_that_the_tokenizer_lacks_is_not_covered(expert: GroundingDino) -> None:
    assert expert.covers("pirate ship")
    assert not expert.covers("собака")


def test_names_that_a_folder_lists_are_all_that_it_covers(folder: Path) -> None:
    file = folder / "known_phrases.json"
    file.write_text(json.dumps(["dog", "Hot Dog"]))
    try:
        expert = GroundingDino.load(str(folder))
    finally:
        file.unlink()
    assert expert.vocabulary == frozenset({"dog", "hot dog"})
    assert expert.covers("Hot dog.")
    assert not expert.covers("cat")


@pytest.mark.parametrize("content", ["[", "[]", "[1]", '{"dog": 1}', '"dog"'])
def test_a_list_of_names_that_cannot_be_read_is_named(folder: Path, content: str) -> None:
    file = folder / "known_phrases.json"
    file.write_text(content)
    try:
        with pytest.raises(ModelLoadError, match=r"known_phrases\.json must hold a list of strings"):
            GroundingDino.load(str(folder))
    finally:
        file.unlink()


def test_scores_that_are_no_numbers_are_an_error(folder: Path, photograph: Image.Image) -> None:
    broken = GroundingDino.load(str(folder))
    with torch.no_grad():
        broken.raw_model.model.text_projection.weight.fill_(float("nan"))
    with pytest.raises(ExpertError, match="no numbers"):
        broken.detect([Inquiry(image=photograph, phrases=("dog",))])


def test_missing_weights_are_named(folder: Path, tmp_path: Path) -> None:
    for file in folder.glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ModelLoadError, match=r"model\.safetensors is missing"):
        GroundingDino.load(str(tmp_path))


def test_a_model_of_another_architecture_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelLoadError, match="'bert'; this expert runs grounding-dino"):
        GroundingDino.load(str(tmp_path))
