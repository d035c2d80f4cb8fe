"""Closed-vocabulary detectors of transformers, on a small randomly initialised RT-DETRv2 and D-FINE."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import (
    DFineConfig,
    DFineForObjectDetection,
    HGNetV2Config,
    RTDetrImageProcessor,
    RTDetrResNetConfig,
    RTDetrV2Config,
    RTDetrV2ForObjectDetection,
)

from experts.closed_detector import ClosedDetector
from experts.contract import ExpertError, Inquiry
from genrm.errors import ModelLoadError

NAMES = {0: "person", 1: "sofa", 2: "tvmonitor", 3: "dog"}


def build_rt_detr() -> RTDetrV2ForObjectDetection:
    config = RTDetrV2Config(
        backbone_config=RTDetrResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], layer_type="basic",
            out_features=["stage2", "stage3", "stage4"],  # type: ignore[call-arg] # annotated as private
        ),
        encoder_hidden_dim=32, encoder_in_channels=[16, 24, 32], feat_strides=[8, 16, 32], encoder_ffn_dim=32,
        encoder_attention_heads=2, d_model=32, decoder_in_channels=[32, 32, 32], decoder_ffn_dim=32, decoder_layers=2,
        decoder_attention_heads=2, num_queries=20, id2label=NAMES, label2id={v: k for k, v in NAMES.items()},
    )  # fmt: skip
    return RTDetrV2ForObjectDetection(config)


def build_d_fine() -> DFineForObjectDetection:
    config = DFineConfig(
        backbone_config=HGNetV2Config(
            embedding_size=8, hidden_sizes=[8, 16, 24, 32], stem_channels=[3, 8, 8],
            stage_in_channels=[8, 8, 16, 24], stage_mid_channels=[8, 8, 8, 8], stage_out_channels=[8, 16, 24, 32],
            stage_num_blocks=[1, 1, 1, 1], stage_numb_of_layers=[1, 1, 1, 1],
            out_features=["stage2", "stage3", "stage4"],  # type: ignore[call-arg] # annotated as private
        ),
        encoder_hidden_dim=32, encoder_in_channels=[16, 24, 32], feat_strides=[8, 16, 32], encoder_ffn_dim=32,
        encoder_attention_heads=2, d_model=32, decoder_in_channels=[32, 32, 32], decoder_ffn_dim=32, decoder_layers=2,
        decoder_attention_heads=2, num_queries=20, id2label=NAMES, label2id={v: k for k, v in NAMES.items()},
    )  # fmt: skip
    return DFineForObjectDetection(config)


@pytest.fixture(scope="module", params=[build_rt_detr, build_d_fine])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved detector that knows four names, two of them in VOC's spelling."""
    path = tmp_path_factory.mktemp("detector")
    torch.manual_seed(0)
    model = request.param()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "class_embed" in name and name.endswith("bias"):
                parameter.copy_(torch.tensor([-9.0, -9.0, 9.0, -9.0]))
    model.save_pretrained(path)
    RTDetrImageProcessor(size={"height": 96, "width": 96}).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def detector(folder: Path) -> ClosedDetector:
    """Keeps every box."""
    return ClosedDetector.load(str(folder), threshold=0.0)


def test_it_covers_its_names_and_what_the_lexicon_says_they_mean(detector: ClosedDetector) -> None:
    assert detector.covers("person")
    assert detector.covers("couch")
    assert detector.covers("sofa")
    assert not detector.covers("zebra")
    assert not detector.covers("unicorn")


def test_it_reports_only_what_was_asked_for_by_the_phrase_that_was_asked(detector: ClosedDetector) -> None:
    """The class head's bias makes every box a "tvmonitor", which is what the lexicon calls a tv."""
    image = Image.effect_noise((80, 50), 60).convert("RGB")
    found, nothing = detector.detect(
        [Inquiry(image=image, phrases=("couch", "tv")), Inquiry(image=image, phrases=("dog", "person"))]
    )
    assert {d.phrase for d in found} == {"tv"}
    assert nothing == ()
    for detection in found:
        x1, y1, x2, y2 = detection.box
        assert 0 <= x1 < x2 <= 80
        assert 0 <= y1 < y2 <= 50


def test_the_threshold_keeps_weak_boxes_out(folder: Path) -> None:
    strict = ClosedDetector.load(str(folder), threshold=1.0)
    assert strict.detect([Inquiry(image=Image.new("RGB", (40, 40)), phrases=("dog", "person"))]) == [()]


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (4000, 1)])
def test_a_sliver_of_an_image_is_looked_at(detector: ClosedDetector, size: tuple[int, int]) -> None:
    (found,) = detector.detect([Inquiry(image=Image.new("RGB", size), phrases=("tv",))])
    assert all(d.box[2] <= size[0] and d.box[3] <= size[1] for d in found)


def test_scores_that_are_no_numbers_are_an_error(folder: Path) -> None:
    broken = ClosedDetector.load(str(folder))
    with torch.no_grad():
        broken.raw_model.class_embed[-1].bias.fill_(float("nan"))
    with pytest.raises(ExpertError, match="no numbers"):
        broken.detect([Inquiry(image=Image.new("RGB", (40, 40)), phrases=("dog",))])


def test_a_model_that_reads_phrases_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "grounding-dino"}')
    with pytest.raises(ModelLoadError, match="another expert"):
        ClosedDetector.load(str(tmp_path))


def test_a_synonym_for_an_unknown_name_is_refused(detector: ClosedDetector) -> None:
    with pytest.raises(ValueError, match="does not know"):
        ClosedDetector(detector.raw_model, detector.raw_processor, model_id="m", synonyms={"puppy": "hound"})
