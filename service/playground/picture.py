"""The picture with what the experts found, as one SVG: boxes stay sharp when a visitor zooms, and read as words."""

import base64
import io

from PIL import Image

from experts.findings import collect_detections, describe_claims, find_common
from genrm.types import Detection, EvidencePair
from service.playground.cards import show_text

_MAX_SHOWN_PIXELS = 1024


def shrink_picture(image: Image.Image) -> str:
    """A picture as the data URL of a JPEG or, if it is small, a PNG file. image: RGB, upright."""
    small = max(image.size) <= _MAX_SHOWN_PIXELS
    shown = image if small else image.copy()
    if not small:
        shown.thumbnail((_MAX_SHOWN_PIXELS, _MAX_SHOWN_PIXELS))
    file = io.BytesIO()
    shown.save(file, "PNG" if small and image.width * image.height < 2**18 else "JPEG")
    kind = "png" if file.getvalue().startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def render_picture(image: Image.Image, evidence: EvidencePair) -> str:
    """The image with a labelled box per object found. image: as the service saw it, RGB, upright."""
    found = collect_detections(evidence)
    width, height = image.size
    unit = max(width, height) / 100
    boxes = "".join(_render_box(each, find_common(each.phrase, evidence) or "mixed", unit, width) for each in found)
    words = "; ".join(f"{each.phrase} ({describe_claims(each.phrase, evidence)})" for each in found)
    label = show_text(f"The image; found: {words}" if found else "The image; no boxes")
    caption = (
        "Boxes: what the vision experts found, with their score."
        if found
        else "No boxes: no expert was asked, or none of the claimed objects was found."
    )
    return (
        f'<figure class="vg-picture"><svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}" '
        f'xmlns="http://www.w3.org/2000/svg"><image href="{shrink_picture(image)}" width="{width}" height="{height}"/>'
        f'{boxes}</svg><figcaption class="vg-dim">{caption}</figcaption></figure>'
    )


def _render_box(each: Detection, kind: str, unit: float, width: int) -> str:
    x1, y1, x2, y2 = each.box
    text = f"{each.phrase} {each.score:.2f}"
    size = 4 * unit
    label_width = min(0.64 * size * len(text) + unit, width)
    left = max(0.0, min(x1, width - label_width))
    top = y1 - 1.3 * size if y1 >= 1.3 * size else y1
    return (
        f'<g class="vg-box vg-{kind}"><rect x="{x1:.1f}" y="{y1:.1f}" width="{x2 - x1:.1f}" height="{y2 - y1:.1f}" '
        f'stroke-width="{0.8 * unit:.2f}"/><rect class="vg-tag" x="{left:.1f}" y="{top:.1f}" width="{label_width:.1f}" '
        f'height="{1.3 * size:.1f}"/><text x="{left + 0.5 * unit:.1f}" y="{top + size:.1f}" font-size="{size:.2f}">'
        f"{show_text(text)}</text></g>"
    )
