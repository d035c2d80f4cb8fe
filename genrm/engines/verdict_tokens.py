"""The tokens that are labels.

Labels must be single tokens where they follow the marker, which `find_label_ids` makes sure of at start-up. A model
that dresses its verdict up ("**First**", "FIRST") writes other tokens; `find_spellings` knows those.

Finding verdicts in finished text is `genrm.parsing`'s business; here only token ids matter.
"""

from collections.abc import Callable, Sequence

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


def find_spellings(
    tokenizer: PreTrainedTokenizerBase, *, label_ids: tuple[int, ...], labels: Sequence[str]
) -> dict[int, tuple[int, ...]]:
    """For every token that is a label, the token ids of all labels in the same spelling, in the order given.

    label_ids: what `find_label_ids` found. Spellings are as given, lower and upper case, each with and without a space
    in front; one in which the labels are no single, different tokens is left out.
    """
    spellings: dict[int, tuple[int, ...]] = {}
    spell: Callable[[str], str]
    for spell in (str, str.lower, str.upper):
        for space in ("", " "):
            encoded = [_encode(tokenizer, space + spell(label)) for label in labels]
            ids = tuple(token for tokens in encoded for token in tokens)
            if len(set(ids)) == len(labels) and all(len(tokens) == 1 for tokens in encoded):
                spellings |= dict.fromkeys(ids, ids)
    return spellings | dict.fromkeys(label_ids, label_ids)


def decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """The text of token ids, without special tokens, exactly as they were written."""
    text = tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert isinstance(text, str), "one sequence of ids gives one text"
    return text


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
