"""The same content in another dress, for measuring what a judge likes beside content.

Each style keeps every word of a response and adds nothing that could be true or false of a picture.
"""

import re
from collections.abc import Callable

_PREAMBLE = "Thank you for this question. Having looked at everything with care, I would put it like this."
_CLOSING = "I hope that this helps. Please feel free to ask if anything is unclear!"


def as_bullets(text: str) -> str:
    """Every sentence an item of a Markdown list."""
    return "\n".join(f"- {sentence}" for sentence in re.split(r"(?<=[.!?])\s+", text.strip()))


def with_preamble(text: str) -> str:
    """A wordy beginning that says nothing."""
    return f"{_PREAMBLE} {text}"


def with_closing(text: str) -> str:
    """A polite end."""
    return f"{text} {_CLOSING}"


STYLES: dict[str, Callable[[str], str]] = {
    "Markdown list": as_bullets,
    "wordy preamble": with_preamble,
    "polite closing": with_closing,
}
