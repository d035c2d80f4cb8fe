"""The inputs that tabs share: a picture with the shipped samples below it. What is uploaded stays as it is, because
the service decides what a picture is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from service.exchange import ServiceError
from service.samples import Sample

NUM_SAMPLES = 5
"""As many as stand in one row."""


@dataclass(frozen=True, kw_only=True)
class PictureInput:
    """A picture, and the samples that can take its place. Its value for a function is a path, or None."""

    picture: gr.Image
    samples: gr.Dataset


def build_picture_input(samples: Sequence[Sample], *, label: str, name: str) -> PictureInput:
    """A picture input that shows the first sample. name: a prefix for the page's element ids."""
    picture = gr.Image(
        value=str(samples[0].image),
        type="filepath",
        sources=["upload", "clipboard"],
        label=label,
        height=230,
        buttons=[],
        elem_id=f"{name}-image",
        alt_text="The image to judge about",
        placeholder="Drop a PNG, JPEG, WebP or GIF here, paste one, or click to choose",
    )
    picture.preprocess = _keep_path  # type: ignore[method-assign] # Gradio's own opens the file and re-encodes it
    dataset = gr.Dataset(
        components=[gr.Image(render=False, alt_text="A sample image")],
        samples=[[str(sample.image)] for sample in samples[:NUM_SAMPLES]],
        type="index",
        label="Samples",
        samples_per_page=NUM_SAMPLES,
        layout="gallery",
        elem_id=f"{name}-samples",
    )
    return PictureInput(picture=picture, samples=dataset)


def read_picture_file(path: str | None) -> bytes | None:
    """The bytes of what was uploaded; None without a picture. Raises ServiceError if it is not kept any more."""
    try:
        return Path(path).read_bytes() if path else None
    except OSError:
        raise ServiceError("The picture is no longer here. Uploads are kept for an hour: choose it again.") from None


def _keep_path(payload: object) -> str | None:
    """Where an uploaded file lies; the door (`file_guard`) has seen that it is one of the page's."""
    path = getattr(payload, "path", None)
    return path if isinstance(path, str) else None
