"""A verdict position is found where the text so far ends with the marker, however tokens cut it."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from genrm.engines.verdict_tokens import MarkerWatch, decode, find_label_ids
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


@pytest.mark.parametrize("text", ["Verdict:", "It is.\nVerdict:", "a Verdict: First Verdict:", "**Verdict:"])
def test_a_text_that_ends_with_the_marker_is_at_a_verdict(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    assert MarkerWatch(tokenizer, MARKER).ends_with_marker("", encode(tokenizer, text))


@pytest.mark.parametrize("text", ["Verdict", "Verdict: First", "Verdict: ", "verdict:", "Question:", "Verdict :"])
def test_any_other_text_is_not(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    assert not MarkerWatch(tokenizer, MARKER).ends_with_marker("", encode(tokenizer, text))


def test_a_prefix_may_hold_all_of_the_marker_or_its_beginning(tokenizer: PreTrainedTokenizerBase) -> None:
    watch = MarkerWatch(tokenizer, MARKER)
    assert watch.ends_with_marker("So: Verdict:", [])
    assert watch.ends_with_marker("So: Ver", encode(tokenizer, "dict:"))
    assert not watch.ends_with_marker("So: Verdict:", encode(tokenizer, " First"))
    assert not watch.ends_with_marker("Verdict", encode(tokenizer, " a:"))


def test_every_position_of_a_text_is_told_right(
    tokenizer: PreTrainedTokenizerBase, lessons: dict[tuple[str, str, str], str]
) -> None:
    watch = MarkerWatch(tokenizer, MARKER)
    found = 0
    for text in lessons.values():
        ids = encode(tokenizer, text)
        for stop in range(len(ids) + 1):
            expected = decode(tokenizer, ids[:stop]).endswith(MARKER)
            assert watch.ends_with_marker("", ids[:stop]) is expected
            found += expected
    assert found == sum(text.count(MARKER) for text in lessons.values())


def test_a_marker_whose_last_character_is_cut_by_tokens_is_found(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = encode(tokenizer, "判定：")
    assert len(ids) > 3, "the tokenizer knows these characters as bytes only"
    watch = MarkerWatch(tokenizer, "判定：")
    assert [watch.ends_with_marker("", ids[:stop]) for stop in range(len(ids) + 1)] == [False] * len(ids) + [True]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_in_random_tokens_the_watch_agrees_with_the_decoded_text(
    tokenizer: PreTrainedTokenizerBase, data: st.DataObject
) -> None:
    pieces = ["Verdict:", "Ver", "dict", ":", " First", "\n", "é"]
    text = "".join(data.draw(st.lists(st.sampled_from(pieces), max_size=8)))
    tokens = st.integers(7, len(tokenizer) - 1)
    ids = [
        *encode(tokenizer, text),
        *data.draw(st.lists(tokens, max_size=3)),
        *encode(tokenizer, data.draw(st.sampled_from(pieces))),
    ]
    assert MarkerWatch(tokenizer, MARKER).ends_with_marker("", ids) is decode(tokenizer, ids).endswith(MARKER)
