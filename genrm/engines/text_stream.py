"""Decoding a growing list of tokens piece by piece, for streaming.

A token may end in the middle of a UTF-8 character; its bytes wait until the character is whole. Concatenated, the
pieces are exactly the text of all tokens decoded at once. Cost per token does not grow with the text: only tokens since
the last whole character are decoded, which is right for byte-level vocabularies, where decoding is concatenation.
"""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from genrm.engines.verdict_tokens import decode

_REPLACEMENT = "\ufffd"


class TextStream:
    """What has been written of one row. Call `take` after every new token and `rest` at the end."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._num_decoded = 0
        self._num_characters = 0

    def take(self, ids: Sequence[int]) -> str:
        """The text that the tokens since the last call complete; "" while a character is still open."""
        waiting = ids[self._num_decoded :]
        piece = decode(self._tokenizer, waiting)
        if piece.endswith(_REPLACEMENT):
            return ""
        self._num_decoded = len(ids)
        self._num_characters += len(piece)
        return piece

    def rest(self, text: str) -> str:
        """What `take` has not given yet of the whole text."""
        return text[self._num_characters :]
