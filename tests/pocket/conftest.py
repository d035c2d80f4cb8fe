"""Fixtures of the pocket tests: the font guard."""

import pytest

from pocket.drawing import FontMissingError, emoji_font_path


@pytest.fixture
def emoji_font() -> None:
    """Skip where the colour-emoji font is not installed."""
    try:
        emoji_font_path()
    except FontMissingError as error:
        pytest.skip(str(error))
