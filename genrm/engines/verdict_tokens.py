"""Recognising verdict positions while a text is being written, token by token.

A verdict position is where the text so far ends with the marker ("Verdict:"); what the model would write next says with
which probability it prefers which label. The check is on decoded text, so it does not matter how a tokenizer cuts the
marker in its context. Labels must be single tokens there, which `find_label_ids` makes sure of at start-up.

Finding verdicts in finished text is `genrm.parsing`'s business; here only positions and token ids matter.
"""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from genrm.errors import ModelLoadError


def find_label_ids(tokenizer: PreTrainedTokenizerBase, *, marker: str, labels: Sequence[str]) -> tuple[int, ...]:
    """The token id of every label, in the order given, where it follows the marker and a space.

    Raises ModelLoadError if a label takes more than one token there, or if two labels are the same token: then one
    position of the model's output would not tell the labels apart.
    """
    stem = _encode(tokenizer, f"\n{marker}")
    found: list[int] = []
    for label in labels:
        ids = _encode(tokenizer, f"\n{marker} {label}")
        if ids[:-1] != stem:
            raise ModelLoadError(
                f"The label {label!r} is no single token after {marker!r} in this model's tokenizer, but must be. Use "
                "a model whose tokenizer has it as one token, or other labels."
            )
        found.append(ids[-1])
    if len(set(found)) < len(found):
        raise ModelLoadError(
            f"The labels {', '.join(labels)} are not different tokens after {marker!r} in this model's tokenizer. Use "
            "a model whose tokenizer tells them apart, or other labels."
        )
    return tuple(found)


class MarkerWatch:
    """Tells whether a text ends with a marker, at the price of a dictionary look-up for most tokens.

    Only a token whose own text ends like the marker can complete it; just then the end of the text is decoded.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, marker: str) -> None:
        self.marker = marker
        self._tokenizer = tokenizer
        self._num_tail_tokens = len(marker.encode()) + 1  # no token that shows in a text is shorter than a byte
        self._may_complete: dict[int, bool] = {}

    def ends_with_marker(self, prefix: str, ids: Sequence[int]) -> bool:
        """Whether prefix + decoded ids ends with the marker. prefix: text that stands before the first of the ids."""
        if not ids:
            return prefix.endswith(self.marker)
        last = ids[-1]
        possible = self._may_complete.get(last)
        if possible is None:
            possible = self._may_complete[last] = self._can_complete(last)
        if not possible:
            return False
        tail: str = decode(self._tokenizer, ids[-self._num_tail_tokens :])
        if len(ids) < self._num_tail_tokens:
            tail = prefix + tail
        return tail.endswith(self.marker)

    def _can_complete(self, token: int) -> bool:
        """A token that ends within a character decodes to a replacement sign and gets the benefit of the doubt."""
        text = decode(self._tokenizer, [token])
        return text.endswith((self.marker[-1], "\ufffd"))


def decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """The text of token ids, without special tokens, exactly as they were written."""
    text = tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert isinstance(text, str), "one sequence of ids gives one text"
    return text


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
