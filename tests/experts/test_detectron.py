"""Detectron2's models as an expert, on the library itself: a small randomly initialised Faster R-CNN.

They skip where Detectron2 does not import: it is in no registry and is built from its source. What must hold without it
is tested everywhere.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from experts.contract import ExpertError, Inquiry
from experts.detectron import Detectron2Expert
from experts.reliability import Reliability
from genrm.errors import ModelLoadError

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script:FutureWarning"),  # Detectron2 scripts functions at import
    pytest.mark.filterwarnings("ignore:pkg_resources is deprecated"),  # finds its zoo with this
    pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning"),  # and calls this as older versions of torch had it
]
NAMES = ["person", "sofa", "tvmonitor", "dog"]
ZOO_NAME = "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml"
PYTHON_ZOO_NAME = "COCO-Detection/retinanet_R_50_FPN_1x.py"
LEVELS = ["res2", "res3", "res4", "res5"]

Write = Callable[..., Path]


def small_config(
    *, num_classes: int = len(NAMES), pixels: str = "BGR", masks: bool = False, **settings: object
) -> dict[str, Any]:
    """A Faster R-CNN with all of Detectron2's parts and 120,000 parameters."""
    return {
        "VERSION": 2,
        "MODEL": {
            "MASK_ON": masks,
            "PIXEL_STD": [57.4, 57.1, 58.4],
            "BACKBONE": {"NAME": "build_resnet_fpn_backbone"},
            "RESNETS": {
                "OUT_FEATURES": LEVELS, "STEM_OUT_CHANNELS": 8, "RES2_OUT_CHANNELS": 16, "WIDTH_PER_GROUP": 4,
            },
            "FPN": {"IN_FEATURES": LEVELS, "OUT_CHANNELS": 16},
            "ANCHOR_GENERATOR": {"SIZES": [[8], [16], [32], [64], [128]]},
            "RPN": {"IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"], "POST_NMS_TOPK_TEST": 30},
            "ROI_HEADS": {
                "NAME": "StandardROIHeads", "IN_FEATURES": ["p2", "p3", "p4", "p5"], "NUM_CLASSES": num_classes,
            },
            "ROI_BOX_HEAD": {
                "NAME": "FastRCNNConvFCHead", "NUM_FC": 1, "FC_DIM": 16, "POOLER_RESOLUTION": 7,
            },
            "ROI_MASK_HEAD": {"NAME": "MaskRCNNConvUpsampleHead", "NUM_CONV": 1, "CONV_DIM": 8},
        },
        "INPUT": {"MIN_SIZE_TEST": 96, "MAX_SIZE_TEST": 160, "FORMAT": pixels},
        **settings,
    }  # fmt: skip


def build_small(config: dict[str, Any]) -> Any:
    """The model, which gives any box "tvmonitor" about 0.7, "dog" about 0.03, and hardly anything else."""
    from detectron2.config import CfgNode, get_cfg
    from detectron2.modeling import build_model

    cfg = get_cfg()
    cfg.merge_from_other_cfg(CfgNode(config))
    cfg.MODEL.DEVICE = "cpu"
    torch.manual_seed(0)
    model = build_model(cfg)
    with torch.no_grad():
        predictor = model.roi_heads.box_predictor
        predictor.cls_score.weight.normal_(std=0.02)
        predictor.bbox_pred.weight.normal_(std=0.02)
        predictor.cls_score.bias.fill_(-9.0)
        predictor.cls_score.bias[2:4] = torch.tensor([1.0, -2.5])
        predictor.cls_score.bias[-1] = 0.0
    return model


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory) -> Write:
    """Writes a config file, what its arguments say, and the weights of its model; skips where there is no library."""
    pytest.importorskip("detectron2.model_zoo", reason="Detectron2 does not import here", exc_type=ImportError)

    def write_config(*, names: list[str] | None = NAMES, **settings: Any) -> Path:
        folder = tmp_path_factory.mktemp("detectron")
        config = small_config(**settings)
        torch.save({"model": build_small(config).state_dict()}, folder / "model.pth")
        config["MODEL"]["WEIGHTS"] = str(folder / "model.pth")
        (folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
        if names is not None:
            (folder / "metadata.json").write_text(json.dumps({"thing_classes": names}))
        return folder / "config.yaml"

    return write_config


@pytest.fixture(scope="module")
def config(write: Write) -> Path:
    """A config file of four names beside its weights."""
    return write()


@pytest.fixture(scope="module")
def expert(config: Path) -> Detectron2Expert:
    """Keeps every box."""
    return Detectron2Expert.load(str(config), threshold=0.0)


@pytest.fixture
def photograph() -> Image.Image:
    """Coloured noise, larger than what the model takes."""
    return noise(300, 200)


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def answer_downloads(monkeypatch: pytest.MonkeyPatch, file: Path) -> list[str]:
    """Let every download give this file, and collect what is asked for."""
    from detectron2.utils.file_io import HTTPURLHandler

    asked: list[str] = []

    def answer(_: object, url: str, **_options: object) -> str:
        asked.append(url)
        return str(file)

    monkeypatch.setattr(HTTPURLHandler, "_get_local_path", answer)
    return asked


def test_without_the_library_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "detectron2.model_zoo", None)
    with pytest.raises(ModelLoadError, match=r"Install 'vl-genrm\[detectron2\]'"):
        Detectron2Expert.load(ZOO_NAME)


@pytest.mark.parametrize("pixels", ["BGR", "RGB"])
@pytest.mark.parametrize("size", [(300, 200), (97, 131), (64, 64), (40, 500)])
def test_it_finds_what_detectron2_s_own_predictor_finds(write: Write, pixels: str, size: tuple[int, int]) -> None:
    from detectron2.config import get_cfg
    from detectron2.engine import DefaultPredictor

    file = write(pixels=pixels)
    cfg = get_cfg()
    cfg.merge_from_file(str(file))
    cfg.MODEL.DEVICE = "cpu"
    image = noise(*size)
    wanted = DefaultPredictor(cfg)(np.asarray(image)[:, :, ::-1])["instances"]
    expert = Detectron2Expert.load(str(file), threshold=0.05)
    (found,) = expert.detect([Inquiry(image=image, phrases=("person", "couch", "tv", "dog"))])
    assert len(found) == len(wanted) > 5
    assert [d.score for d in found] == pytest.approx(wanted.scores.tolist(), abs=1e-6)
    for detection, box in zip(found, wanted.pred_boxes.tensor.tolist(), strict=True):
        assert detection.box == pytest.approx(box, abs=1e-3)


def test_boxes_are_in_pixels_of_the_original_image(expert: Detectron2Expert, photograph: Image.Image) -> None:
    """The model sees 144 x 96 pixels, and its small boxes must reach the image's far corner."""
    (found,) = expert.detect([Inquiry(image=photograph, phrases=("tv",))])
    for detection in found:
        x1, y1, x2, y2 = detection.box
        assert 0 <= x1 < x2 <= 300
        assert 0 <= y1 < y2 <= 200
        assert (detection.expert, detection.model) == ("detectron2", "config.yaml")
    assert max(d.box[0] for d in found) > 144
    assert max(d.box[1] for d in found) > 96


def test_the_best_score_comes_first(expert: Detectron2Expert, photograph: Image.Image) -> None:
    (found,) = expert.detect([Inquiry(image=photograph, phrases=("dog", "tv"))])
    scores = [d.score for d in found]
    assert scores == sorted(scores, reverse=True)
    assert {d.phrase for d in found} == {"dog", "tv"}


def test_what_is_found_does_not_depend_on_the_batch(expert: Detectron2Expert, photograph: Image.Image) -> None:
    inquiries = [
        Inquiry(image=noise(120, 260), phrases=("tv",)),
        Inquiry(image=photograph, phrases=("tv",)),
        Inquiry(image=noise(301, 200), phrases=("dog", "tv")),
    ]
    together = expert.detect(inquiries)
    for inquiry, found in zip(inquiries, together, strict=True):
        (alone,) = expert.detect([inquiry])
        assert len(found) == len(alone) > 0
        for one, two in zip(alone, found, strict=True):
            assert one.phrase == two.phrase
            assert one.score == pytest.approx(two.score, abs=1e-5)
            assert one.box == pytest.approx(two.box, abs=0.01)


def test_only_what_was_asked_for_is_reported_by_the_phrase_that_was_asked(
    config: Path, photograph: Image.Image
) -> None:
    """Every box is a "tvmonitor", which is what the lexicon calls a tv."""
    expert = Detectron2Expert.load(str(config))
    found, nothing = expert.detect(
        [Inquiry(image=photograph, phrases=("couch", "tv")), Inquiry(image=photograph, phrases=("dog", "person"))]
    )
    assert {d.phrase for d in found} == {"tv"}
    assert nothing == ()


@pytest.mark.parametrize(("threshold", "phrases"), [(0.9, set()), (0.5, {"tv"}), (0.01, {"tv", "dog"})])
def test_the_threshold_decides_also_below_detectron2_s_own(
    config: Path, photograph: Image.Image, threshold: float, phrases: set[str]
) -> None:
    expert = Detectron2Expert.load(str(config), threshold=threshold)
    (found,) = expert.detect([Inquiry(image=photograph, phrases=("tv", "dog"))])
    assert {d.phrase for d in found} == phrases
    assert all(d.score >= threshold for d in found)


def test_masks_that_nobody_asked_for_are_not_drawn(write: Write, photograph: Image.Image) -> None:
    expert = Detectron2Expert.load(str(write(masks=True)))
    answers: list[list[dict[str, Any]]] = []
    expert.raw_model.register_forward_hook(lambda _module, _inputs, output: answers.append(output))
    (found,) = expert.detect([Inquiry(image=photograph, phrases=("tv",))])
    assert found
    assert [answer[0]["instances"].has("pred_masks") for answer in answers] == [False]


def test_it_covers_its_names_and_what_the_lexicon_says_they_mean(expert: Detectron2Expert) -> None:
    assert all(map(expert.covers, ("person", "woman", "sofa", "couch", "tv", "television", "puppy")))
    assert not any(map(expert.covers, ("zebra", "unicorn", "собака", "", "word " * 200)))


def test_names_come_from_the_metadata_of_the_config_s_data_set(write: Write) -> None:
    file = write(names=None, num_classes=80, DATASETS={"TRAIN": ["coco_2017_train"]})
    expert = Detectron2Expert.load(str(file))
    assert all(map(expert.covers, ("zebra", "hot dog", "cell phone", "couch")))
    assert not expert.covers("unicorn")


@pytest.mark.parametrize("names", [None, ["person"], []])
def test_names_that_do_not_fit_the_classes_are_refused(write: Write, names: list[str] | None) -> None:
    file = write(names=names, DATASETS={"TRAIN": ["nobody_registered_this"]})
    with pytest.raises(ModelLoadError, match=rf"4 classes, and {len(names or [])} names .*metadata\.json"):
        Detectron2Expert.load(str(file))
    assert Detectron2Expert.load(str(file), names=NAMES).covers("dog")


def test_what_was_measured_is_read_from_beside_the_config(write: Write, expert: Detectron2Expert) -> None:
    file = write()
    (file.parent / "reliability.json").write_text('{"recall": 0.9, "false_alarm_rate": 0.02}')
    assert Detectron2Expert.load(str(file)).reliability == Reliability(recall=0.9, false_alarm_rate=0.02)
    assert expert.reliability is None


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (4000, 1), (3, 2)])
def test_a_sliver_of_an_image_is_looked_at(expert: Detectron2Expert, size: tuple[int, int]) -> None:
    (found,) = expert.detect([Inquiry(image=Image.new("RGB", size), phrases=("tv",))])
    assert all(d.box[2] <= size[0] and d.box[3] <= size[1] for d in found)


@pytest.mark.parametrize(
    "layer", ["backbone.bottom_up.stem.conv1", "proposal_generator.rpn_head.conv", "roi_heads.box_predictor.cls_score"]
)
def test_values_that_are_no_numbers_are_an_error_and_not_an_empty_image(
    config: Path, photograph: Image.Image, layer: str
) -> None:
    broken = Detectron2Expert.load(str(config))
    with torch.no_grad():
        broken.raw_model.get_submodule(layer).weight.fill_(float("nan"))
    with pytest.raises(ExpertError, match="no numbers"):
        broken.detect([Inquiry(image=photograph, phrases=("tv",))])


@pytest.mark.parametrize("name", ["nowhere/config.yaml", "COCO-Detection/nothing.yaml"])
def test_a_config_that_is_not_there_is_named(write: Write, name: str) -> None:
    with pytest.raises(ModelLoadError, match=rf"{name} .*zoo name such as"):
        Detectron2Expert.load(name)


@pytest.mark.parametrize("text", ["MODEL: [", "MODEL: {NO_SUCH_KEY: 1}", "42", ""])
def test_a_damaged_config_is_named(write: Write, tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ModelLoadError, match=rf"{file}"):
        Detectron2Expert.load(str(file))


def test_a_config_without_weights_is_no_detector(write: Write, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps(small_config()))
    with pytest.raises(ModelLoadError, match=rf"{file} names no weights.*MODEL\.WEIGHTS"):
        Detectron2Expert.load(str(file), names=NAMES)


def test_weights_that_are_not_there_are_named(config: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"the weights nowhere\.pth .*Check the file"):
        Detectron2Expert.load(str(config), weights="nowhere.pth")


def test_damaged_weights_are_named(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "half.pth"
    file.write_bytes((config.parent / "model.pth").read_bytes()[:5000])
    with pytest.raises(ModelLoadError, match=r"half\.pth .*Check the file"):
        Detectron2Expert.load(str(config), weights=str(file))


def test_weights_of_a_backbone_alone_are_refused(config: Path, tmp_path: Path) -> None:
    """Training configs name those to start from; Detectron2 would leave the rest random."""
    whole = torch.load(config.parent / "model.pth")["model"]
    file = tmp_path / "backbone.pth"
    torch.save({"model": {name: value for name, value in whole.items() if name.startswith("backbone")}}, file)
    with pytest.raises(ModelLoadError, match=r"no usable values for \d+ .*proposal_generator.*MODEL\.WEIGHTS"):
        Detectron2Expert.load(str(config), weights=str(file))


def test_weights_that_are_no_numbers_are_refused(config: Path, tmp_path: Path) -> None:
    whole = torch.load(config.parent / "model.pth")["model"]
    whole["roi_heads.box_predictor.cls_score.bias"].fill_(float("nan"))
    torch.save({"model": whole}, tmp_path / "nan.pth")
    with pytest.raises(ModelLoadError, match=r"for 1 of .*cls_score\.bias"):
        Detectron2Expert.load(str(config), weights=str(tmp_path / "nan.pth"))


@pytest.mark.parametrize("name", [ZOO_NAME, PYTHON_ZOO_NAME])
def test_a_zoo_name_takes_the_published_weights_and_coco_s_names(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The download is answered with random weights of the right shapes."""
    from detectron2 import model_zoo
    from detectron2.config import instantiate
    from detectron2.modeling import build_model

    cfg = model_zoo.get_config(name)
    if name.endswith(".py"):
        model = instantiate(cfg.model)
    else:
        cfg.MODEL.DEVICE = "cpu"
        model = build_model(cfg)
    file = tmp_path / "published.pth"
    torch.save({"model": model.state_dict()}, file)
    asked = answer_downloads(monkeypatch, file)
    expert = Detectron2Expert.load(name)
    assert asked[0] == model_zoo.get_checkpoint_url(name)
    assert expert.model == name
    assert all(map(expert.covers, ("zebra", "sofa", "man")))
    assert not expert.covers("unicorn")


@pytest.mark.parametrize("kind", ["rpn", "fast_rcnn"])
def test_a_zoo_model_that_finds_no_objects_by_itself_is_refused_before_anything_is_fetched(
    write: Write, kind: str
) -> None:
    with pytest.raises(ModelLoadError, match="does not find objects in an image by itself"):
        Detectron2Expert.load(f"COCO-Detection/{kind}_R_50_FPN_1x.yaml")


def test_weights_named_by_the_library_s_own_catalogue_are_fetched(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write()
    config = json.loads(file.read_text())
    weights, config["MODEL"]["WEIGHTS"] = config["MODEL"]["WEIGHTS"], "detectron2://mine/model_final.pth"
    file.write_text(json.dumps(config))
    asked = answer_downloads(monkeypatch, Path(weights))
    assert Detectron2Expert.load(str(file)).covers("dog")
    assert asked[0].endswith("/mine/model_final.pth")
