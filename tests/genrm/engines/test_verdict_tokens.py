"""Labels are single tokens, in whatever spelling they are written, or the model is refused."""

import pytest
from transformers import PreTrainedTokenizerBase

from genrm.engines.verdict_tokens import decode, find_label_ids, find_spellings
from genrm.errors import ModelLoadError

MARKER = "Verdict:"


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    ids: list[int] = tokenizer(text)["input_ids"]
    return ids


def test_labels_are_the_tokens_that_follow_the_marker(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = find_label_ids(tokenizer, marker=MARKER, labels=("First", "Second"))
    assert [decode(tokenizer, [token]) for token in ids] == [" First", " Second"]
    assert encode(tokenizer, "It is so.\nVerdict: Second")[-1] == ids[1]


def test_no_labels_need_no_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    assert find_label_ids(tokenizer, marker="", labels=()) == ()


def test_a_label_of_several_tokens_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(ModelLoadError, match=r"'Antediluvian' is no single token after 'Verdict:'"):
        find_label_ids(tokenizer, marker=MARKER, labels=("First", "Antediluvian"))


def test_labels_that_are_one_token_are_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(ModelLoadError, match="not different tokens"):
        find_label_ids(tokenizer, marker=MARKER, labels=("First", "First"))


def test_the_usual_spellings_of_a_label_are_known_with_the_other_label_in_the_same(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    label_ids = find_label_ids(tokenizer, marker=MARKER, labels=("First", "Second"))
    spellings = find_spellings(tokenizer, label_ids=label_ids, labels=("First", "Second"))
    assert {token: ids for token, ids in spellings.items() if token in label_ids} == dict.fromkeys(label_ids, label_ids)
    for token, ids in spellings.items():
        texts = [decode(tokenizer, [other]) for other in ids]
        assert [text.strip().casefold() for text in texts] == ["first", "second"]
        assert token in ids
        assert len({text.startswith(" ") for text in texts}) == 1


def test_a_spelling_in_several_tokens_is_left_out(tokenizer: PreTrainedTokenizerBase) -> None:
    label_ids = find_label_ids(tokenizer, marker=MARKER, labels=("First", "Second"))
    spellings = find_spellings(tokenizer, label_ids=label_ids, labels=("First", "Second"))
    assert len(encode(tokenizer, " FIRST")) > 1
    assert encode(tokenizer, " FIRST")[0] not in spellings


def test_no_labels_have_no_spellings(tokenizer: PreTrainedTokenizerBase) -> None:
    assert find_spellings(tokenizer, label_ids=(), labels=()) == {}
