"""Streamed pieces are whole characters, and together they are the text."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from genrm.engines.text_stream import TextStream
from genrm.engines.verdict_tokens import decode


def stream(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[str]:
    """The pieces given after each token, and the rest."""
    taken = TextStream(tokenizer)
    pieces = [taken.take(ids[: stop + 1]) for stop in range(len(ids))]
    return [*pieces, taken.rest(decode(tokenizer, ids))]


def test_plain_text_comes_token_by_token(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = tokenizer("It is a cat.")["input_ids"]
    assert stream(tokenizer, ids) == [*(decode(tokenizer, [token]) for token in ids), ""]


def test_a_character_of_several_tokens_comes_in_one_piece(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = tokenizer("a 🙂 é 漢")["input_ids"]
    pieces = stream(tokenizer, ids)
    assert len(ids) > len("a 🙂 é 漢"), "the tokenizer knows these characters as bytes only"
    assert "\ufffd" not in "".join(pieces)
    assert {"🙂", "漢"} <= {piece.strip() for piece in pieces}


def test_a_character_that_never_becomes_whole_comes_at_the_end(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = tokenizer("cat 🙂")["input_ids"][:-1]
    pieces = stream(tokenizer, ids)
    assert "\ufffd" not in "".join(pieces[:-1])
    assert "".join(pieces) == decode(tokenizer, ids)


def test_special_tokens_are_not_streamed(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = tokenizer("cat<|vision_start|> dog")["input_ids"]
    assert "".join(stream(tokenizer, ids)) == "cat dog"


def test_nothing_written_streams_nothing(tokenizer: PreTrainedTokenizerBase) -> None:
    assert stream(tokenizer, []) == [""]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_pieces_of_any_tokens_are_the_text(tokenizer: PreTrainedTokenizerBase, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), max_size=40))
    assert "".join(stream(tokenizer, ids)) == decode(tokenizer, ids)
