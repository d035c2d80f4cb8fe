"""Runs one verification and wraps what was found, for the route and for the command line."""

import io
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from PIL.Image import Image

from experts.annotate import annotate
from experts.panel import ExpertPanel
from genrm.media import decode_image
from genrm.types import Evidence, Timings, mean_support
from service.errors import StartError
from service.exchange import read_picture
from service.expert_choice import load_panel
from service.metrics import Metrics
from service.schemas import VerifyFields, VerifyResponse
from service.settings import Settings


async def run_verification(panel: ExpertPanel, images: Sequence[Image], fields: VerifyFields) -> VerifyResponse:
    """The verification of a text about decoded images, its timings without media."""
    started = time.perf_counter()
    found = await panel.verify_text(images, fields.text)
    seconds = time.perf_counter() - started
    return VerifyResponse(
        id=fields.id or f"verification-{uuid.uuid4().hex}",
        created=int(time.time()),
        experts=tuple(f"{member.name} ({member.model})" for member in panel.members),
        evidence=found.evidence,
        support=mean_support(found.evidence),
        warnings=found.warnings,
        timings_ms=Timings(experts=1000 * seconds, total=1000 * seconds),
    )


async def verify_here(settings: Settings, path: Path, text: str, *, draw: bool) -> tuple[VerifyResponse, bytes]:
    """Verification and, if wanted, picture of an image file, with experts that are loaded for it alone.

    Raises StartError where the settings name no expert, InvalidImageError, ModelLoadError.
    """
    image = decode_image(read_picture(path), limits=settings.image_limits)
    panel = load_panel(settings, Metrics())
    if panel is None:
        raise StartError(
            "No vision experts are configured, so nothing can be verified. Name some with --experts or GENRM_EXPERTS, "
            "e.g. grounding-dino:IDEA-Research/grounding-dino-base."
        )
    try:
        found = await run_verification(panel, [image], VerifyFields(text=text))
    finally:
        panel.close()
    return found, draw_evidence(image, found.evidence) if draw else b""


def draw_evidence(image: Image, evidence: Sequence[Evidence]) -> bytes:
    """The image with its evidence drawn on it, PNG."""
    file = io.BytesIO()
    annotate(image, evidence).save(file, "PNG")
    return file.getvalue()
