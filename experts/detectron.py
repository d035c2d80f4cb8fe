"""Detectron2's models as an expert: any detector of its model zoo, or a config and weights of your own.

Needs the library `detectron2`, which is built from its source: `pip install 'vl-genrm[detectron2]'`. It is imported
only when such an expert is loaded. Phrases outside the model's names are unchecked, never absent.

Beside a config of your own may lie `metadata.json` with the names of the classes, `{"thing_classes": ["person", …]}`,
and `reliability.json`. Its YAML and Python configs and its weights can run code when they are read: load only what you
trust.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Resampling

from experts.boxes import clean_detections, suppress_overlaps
from experts.contract import ExpertError, Inquiry
from experts.names import NameMap
from experts.reliability import Reliability, read_reliability
from genrm.engines.loading import choose_placement
from genrm.engines.model_files import read_json
from genrm.errors import ModelLoadError
from genrm.types import Detection

METADATA_FILE = "metadata.json"
_log = logging.getLogger(__name__)


class Detectron2Expert:
    """An expert on a built Detectron2 model, which it takes over.

    model: takes Detectron2's list of dictionaries and answers `instances`. names: of the classes, in the model's order.
    resize: shortest and longest side that images are scaled to, pixels; a shortest side of 0 leaves them as they are.
    blue_first: the model takes BGR, Detectron2's default. threshold: least score that counts, in [0, 1].
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - a library without types
        *,
        model_id: str,
        names: Sequence[str],
        name: str = "detectron2",
        threshold: float = 0.5,
        nms_iou: float = 0.7,
        resize: tuple[int, int] = (800, 1333),
        blue_first: bool = True,
        batch_size: int = 4,
        reliability: Reliability | None = None,
        synonyms: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.model, self.batch_size = name, model_id, batch_size
        self.raw_model, self._class_names = model.eval(), tuple(names)
        self.reliability = reliability
        self._threshold, self._nms_iou, self._resize, self._blue_first = threshold, nms_iou, resize, blue_first
        self._names = NameMap(names, synonyms=synonyms)
        self.vocabulary: frozenset[str] | None = self._names.phrases
        for path, module in model.named_modules():
            if hasattr(module, "test_score_thresh"):
                module.test_score_thresh = threshold  # the zoo's floor of 0.05 would override a lower one
            if isinstance(module, torch.nn.Linear | torch.nn.Conv2d) and not path.startswith("backbone."):
                module.register_forward_hook(self._require_numbers)

    @classmethod
    def load(
        cls,
        config: str,
        *,
        weights: str | None = None,
        names: Sequence[str] | None = None,
        name: str = "detectron2",
        device: str = "auto",
        threshold: float = 0.5,
    ) -> "Detectron2Expert":
        """Build a model. config: a zoo name such as `COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml`, or a YAML or Python
        config file. weights: file or URL; None takes the config's own (for a zoo name: the published ones, which are
        downloaded). names: class names; None takes them from `metadata.json` beside the config file, or else from the
        metadata of the config's data sets. device: as for the judge.

        Raises ModelLoadError if the library is not installed, or config, weights or names cannot be used.
        """
        _require_library()
        target = choose_placement(device=device, dtype="float32", attention="sdpa").device
        file = Path(config).expanduser()
        folder = file.parent if file.is_file() else None
        built = _build(config, file if folder else None)
        names = _find_names(folder, built.datasets) if names is None else names
        num_classes = _count_classes(built.model, config)
        if len(names) != num_classes:
            raise ModelLoadError(
                f"The model of {config} has {num_classes} classes, and {len(names)} names for them are known. Put "
                f'theirs into {METADATA_FILE} beside the config file, as {{"thing_classes": ["person", …]}}.'
            )
        weights = weights or (built.weights if folder else _find_published_weights(config))
        _load_weights(built.model, weights, config=config)
        return cls(
            built.model.to(target),
            model_id=file.name if folder else config,
            names=names,
            name=name,
            threshold=threshold,
            resize=built.resize,
            blue_first=built.channels == "BGR",
            reliability=read_reliability(str(folder)) if folder else None,
        )

    def covers(self, phrase: str) -> bool:
        """Whether one of the model's names stands for the phrase."""
        return bool(self._names.find(phrase))

    @torch.inference_mode()
    def detect(self, inquiries: Sequence[Inquiry]) -> list[tuple[Detection, ...]]:
        """What was found, per inquiry, best score first. Raises ExpertError if the model gives no numbers."""
        found: list[tuple[Detection, ...]] = [()] * len(inquiries)
        for indices, batch in self._batches(inquiries):
            for index, out in zip(indices, self.raw_model(batch), strict=True):
                found[index] = self._read(inquiries[index], out["instances"])
        return found

    def _batches(self, inquiries: Sequence[Inquiry]) -> Iterable[tuple[list[int], list[dict[str, Any]]]]:
        """Prepared images of one size, with the numbers of their inquiries: Detectron2 would pad others, and what is
        found in an image must not depend on its neighbours.
        """
        by_shape: dict[torch.Size, tuple[list[int], list[dict[str, Any]]]] = {}
        for index, inquiry in enumerate(inquiries):
            prepared = self._prepare(inquiry)
            indices, batch = by_shape.setdefault(prepared["image"].shape, ([], []))
            indices.append(index)
            batch.append(prepared)
        return by_shape.values()

    def _prepare(self, inquiry: Inquiry) -> dict[str, Any]:
        """One entry of the model's batch, as Detectron2's own `DefaultPredictor` makes it; but no side of a sliver is
        scaled to nothing.
        """
        from detectron2.data.transforms import ResizeShortestEdge

        image = inquiry.image
        shortest, longest = self._resize
        if shortest:
            height, width = ResizeShortestEdge.get_output_shape(image.height, image.width, shortest, longest)
            image = image.resize((max(1, width), max(1, height)), Resampling.BILINEAR)
        pixels = np.asarray(image, dtype=np.float32)
        if self._blue_first:
            pixels = pixels[:, :, ::-1]
        tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        return {"image": tensor, "height": inquiry.image.height, "width": inquiry.image.width}

    def _read(self, inquiry: Inquiry, instances: Any) -> tuple[Detection, ...]:  # noqa: ANN401 - as above
        phrases = {name: phrase for phrase in inquiry.phrases for name in self._names.find(phrase)}
        boxes, scores = instances.pred_boxes.tensor.tolist(), instances.scores.tolist()
        found = []
        for label, score, box in zip(instances.pred_classes.tolist(), scores, boxes, strict=True):
            phrase = phrases.get(self._class_names[label])
            if phrase is not None and score >= self._threshold:
                found.append(Detection(phrase=phrase, score=score, box=tuple(box), expert=self.name, model=self.model))
        cleaned = clean_detections(found, width=inquiry.image.width, height=inquiry.image.height)
        return suppress_overlaps(cleaned, iou_threshold=self._nms_iou)

    def _require_numbers(self, _module: object, _inputs: object, output: torch.Tensor) -> None:
        """Called with what each layer of the heads gives. Detectron2 drops boxes and scores that are no numbers, and a
        broken model would seem to find nothing.
        """
        if not bool(output.isfinite().all()):
            raise ExpertError(f"{self.name} ({self.model}) gave scores that are no numbers.")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Built:
    """What a config describes. model: on the CPU, with weights that mean nothing yet. weights: file or URL, or empty.
    datasets: those that it was tested and trained on. resize: as for the expert. channels: `BGR` or `RGB`.
    """

    model: Any
    weights: str
    datasets: tuple[str, ...]
    resize: tuple[int, int]
    channels: str


def _require_library() -> None:
    try:
        import detectron2.model_zoo  # noqa: F401 - the part that needs most of what the library needs
    except ImportError as error:
        raise ModelLoadError(
            "The expert detectron2 needs the library of that name, which is not installed or does not import here "
            f"({error}). Install 'vl-genrm[detectron2]' (built from source; needs a C++ compiler), or use an expert of "
            "another kind: grounding-dino or detector."
        ) from error


@contextmanager
def _any_error(what: str, remedy: str) -> Iterator[None]:
    """Turn whatever the library raises into ModelLoadError: it has no error types of its own."""
    try:
        yield
    except Exception as error:
        _log.exception("Loading %s failed", what)
        raise ModelLoadError(
            f"Detectron2 cannot use {what} ({type(error).__name__}; the log has the cause). {remedy}"
        ) from error


def _build(config: str, file: Path | None) -> _Built:
    """The model of a config file, or of a zoo name if there is no such file."""
    from detectron2 import model_zoo
    from detectron2.modeling import GeneralizedRCNN

    remedy = "Give a YAML or Python config file, or a zoo name such as COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml."
    with _any_error(f"the config {config}", remedy):
        path = str(file) if file else model_zoo.get_config_file(config)
        built = _build_from_python(path) if path.endswith(".py") else _build_from_yaml(path)
    if type(built.model) is GeneralizedRCNN:  # masks would be drawn at the image's full size, for nothing
        built.model.roi_heads.mask_on = built.model.roi_heads.keypoint_on = False
    return built


def _build_from_yaml(path: str) -> _Built:
    from detectron2.config import get_cfg
    from detectron2.modeling import build_model

    cfg = get_cfg()
    cfg.merge_from_file(path)
    cfg.MODEL.DEVICE = "cpu"
    return _Built(
        model=build_model(cfg),
        weights=cfg.MODEL.WEIGHTS,
        datasets=(*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN),
        resize=(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST),
        channels=cfg.INPUT.FORMAT,
    )


def _build_from_python(path: str) -> _Built:
    from detectron2.config import LazyConfig, instantiate

    cfg = LazyConfig.load(path)
    test = cfg.dataloader.test
    resize, datasets = test.mapper.augmentations[0], test.dataset.names
    return _Built(
        model=instantiate(cfg.model),
        weights=cfg.train.init_checkpoint,
        datasets=(datasets,) if isinstance(datasets, str) else tuple(datasets),
        resize=(resize.short_edge_length, resize.max_size),
        channels=test.mapper.image_format,
    )


def _find_published_weights(config: str) -> str:
    from detectron2 import model_zoo

    with _any_error(f"the zoo's weights for {config}", "Choose a config that it has weights for, or give your own."):
        return str(model_zoo.get_checkpoint_url(config))


def _load_weights(model: Any, weights: str, *, config: str) -> None:  # noqa: ANN401 - as above
    """Fill the model. Detectron2 leaves random what a file lacks, and says so in the log only."""
    from detectron2.checkpoint import DetectionCheckpointer

    remedy = "Put the trained weights into the config (MODEL.WEIGHTS, or train.init_checkpoint in a Python config)."
    if not weights:
        raise ModelLoadError(f"The config {config} names no weights. {remedy}")
    tensors = {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
    for tensor in tensors.values():
        tensor.fill_(float("nan"))
    with _any_error(f"the weights {weights}", "Check the file, or the network for a URL."):
        DetectionCheckpointer(model).load(weights)
    unfilled = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    if unfilled:
        raise ModelLoadError(
            f"{weights} has no usable values for {len(unfilled)} of the model's {len(tensors)} tensors, {unfilled[0]} "
            f"for one: they are missing, of another shape, or no numbers. {remedy}"
        )


def _count_classes(model: Any, config: str) -> int:  # noqa: ANN401 - as above
    """How many kinds of objects the model tells apart. Raises ModelLoadError if it finds none, or not by itself."""
    num_classes = getattr(getattr(model, "roi_heads", model), "num_classes", None)
    if num_classes is None or getattr(model, "proposal_generator", model) is None:
        raise ModelLoadError(
            f"The model of {config} does not find objects in an image by itself ({type(model).__name__}). Choose a "
            "detector, such as COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml."
        )
    return int(num_classes)


def _find_names(folder: Path | None, datasets: Sequence[str]) -> tuple[str, ...]:
    """The names of the classes, from the file beside a config or what Detectron2 knows of the data sets; else none."""
    from detectron2.data import MetadataCatalog

    if folder and (folder / METADATA_FILE).is_file():
        return tuple(map(str, read_json(folder / METADATA_FILE).get("thing_classes", ())))
    return next(filter(None, (tuple(MetadataCatalog.get(name).get("thing_classes", ())) for name in datasets)), ())
