"""A picture to show to experts, and a way to let one hang until the test is over."""

import threading
from collections.abc import Iterator

import pytest
from PIL import Image


@pytest.fixture
def picture() -> Image.Image:
    """A field of one colour, wider than high."""
    return Image.new("RGB", (60, 30), "teal")


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Set at the end of a test at the latest, so that an expert that waits for it ends."""
    event = threading.Event()
    yield event
    event.set()
