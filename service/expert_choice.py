"""Which vision experts and statement checkers the settings ask for."""

import logging

from PIL import Image

from experts.contract import Expert, ExpertError, Inquiry, PanelMember, StatementChecker, StatementInquiry
from experts.lexicon import default_lexicon
from experts.panel import ExpertPanel
from genrm.errors import ModelLoadError
from genrm.shipped import expert_folder
from service.errors import StartError
from service.metrics import Metrics
from service.settings import Settings

_STATEMENTS = "statements"
_KINDS = ("shipped", "grounding-dino", "detector", "detectron2", _STATEMENTS)
_CLOSED_THRESHOLD = 0.5
_log = logging.getLogger(__name__)


def load_panel(settings: Settings, metrics: Metrics) -> ExpertPanel | None:
    """The experts that the settings describe, loaded and warm; None for none. It imports torch and takes seconds.

    Raises StartError if the setting cannot be read, ModelLoadError if an expert cannot be loaded and is required.
    """
    experts, checkers = list[Expert](), list[StatementChecker]()
    for kind, model in parse_experts(settings):
        members: list[PanelMember] = [*experts, *checkers]
        number = sum(member.name.startswith(kind) for member in members)
        name = f"{kind}-{number + 1}" if number else kind
        try:
            if kind == _STATEMENTS:
                checkers.append(_load_checker(model, settings, name=name))
            else:
                experts.append(_load_expert(kind, model, settings, name=name))
        except (ModelLoadError, ExpertError) as error:
            if settings.experts_required:
                raise ModelLoadError(
                    f"Expert {kind}: {error} To serve without an expert that cannot be loaded, set "
                    "GENRM_EXPERTS_REQUIRED=false; without any, GENRM_EXPERTS=none."
                ) from error
            _log.warning("Going on without the expert %s: %s", kind, error)
    if not experts and not checkers:
        return None
    default_lexicon()  # building its plurals takes a second, which the first request should not
    return ExpertPanel(
        experts,
        checkers=checkers,
        rule=settings.expert_rule,
        timeout_seconds=settings.expert_timeout_seconds,
        on_batch=metrics.observe_expert,
    )


def parse_experts(settings: Settings) -> list[tuple[str, str]]:
    """Kind and model of each expert that is asked for. Raises StartError."""
    wanted = settings.experts.strip()
    if wanted == "auto":
        uses_shipped_judge = settings.model is None and settings.engine_url is None
        wanted = "shipped" if uses_shipped_judge and expert_folder().is_dir() else "none"
    if wanted == "none":
        return []
    parsed = []
    for item in filter(None, (part.strip() for part in wanted.split(","))):
        kind, _, model = item.partition(":")
        if kind not in _KINDS or bool(model) == (kind == "shipped"):
            raise StartError(
                f"GENRM_EXPERTS is {settings.experts!r}; {item!r} is no expert. Allowed are auto, none, and a list of "
                "shipped, grounding-dino:MODEL, detector:MODEL, detectron2:CONFIG, statements:MODEL, "
                "statements:shipped, separated by commas. MODEL is a folder or hub id."
            )
        parsed.append((kind, model or str(expert_folder())))
    return parsed


def _load_checker(model: str, settings: Settings, *, name: str) -> StatementChecker:
    """A statement checker that has read one statement."""
    from experts.likelihood_checker import LikelihoodChecker

    checker = LikelihoodChecker.load(model, name=name, device=settings.device, dtype=settings.dtype)
    images = (Image.new("RGB", (64, 64)),)
    checker.check([StatementInquiry(images=images, question="", statements=("The image is black.",))])
    return checker


def _load_expert(kind: str, model: str, settings: Settings, *, name: str) -> Expert:
    """A detector that has looked for one phrase."""
    expert = _load_detector(kind, model, settings, name=name)
    phrase = "person" if expert.covers("person") else min(expert.vocabulary or ("person",))
    expert.detect([Inquiry(image=Image.new("RGB", (64, 64)), phrases=(phrase,))])
    return expert


def _load_detector(kind: str, model: str, settings: Settings, *, name: str) -> Expert:
    threshold, device = settings.expert_threshold, settings.device
    if kind == "detectron2":
        from experts.detectron import Detectron2Expert

        return Detectron2Expert.load(model, name=name, device=device, threshold=threshold or _CLOSED_THRESHOLD)
    if kind == "detector":
        from experts.closed_detector import ClosedDetector

        return ClosedDetector.load(
            model, name=name, device=device, dtype=settings.dtype, threshold=threshold or _CLOSED_THRESHOLD
        )
    from experts.grounding_dino import GroundingDino, GroundingOptions

    options = GroundingOptions()
    if threshold is not None:
        options = GroundingOptions(box_threshold=threshold, text_threshold=min(threshold, options.text_threshold))
    return GroundingDino.load(model, name=name, device=device, dtype=settings.dtype, options=options)
