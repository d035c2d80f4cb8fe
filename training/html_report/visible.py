"""Text of rows and models as a reader may safely see it: nothing in it acts, hides or turns other text around.

Escaping for HTML is the template's business; this is about characters that HTML lets through. Control characters become
pictures of themselves, and signs that have no picture (marks that reverse the direction of writing, invisible letters,
halves of characters) become their code in brackets.
"""

import re

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
_HIDDEN = re.compile(
    "[\x80-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e01ef\ud800-\udfff]"
)
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")


def make_visible(text: str) -> str:
    """The text with every character that acts or hides shown; line breaks and tabs stay."""
    text = text.replace("\r\n", "\n")
    text = _CONTROL.sub(lambda match: chr(0x2421 if match[0] == "\x7f" else 0x2400 + ord(match[0])), text)
    return _HIDDEN.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)


def shorten(text: str, max_chars: int) -> str:
    """The beginning of a long text, and how much is left out."""
    left = len(text) - max_chars
    return text if left <= 0 else f"{text[:max_chars].rstrip()} … ({left:,} more characters)"


def hide_credentials(text: str) -> str:
    """The text without the user and password that a URL may name."""
    return _CREDENTIALS.sub("…@", text)
