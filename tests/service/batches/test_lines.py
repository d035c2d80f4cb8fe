"""Lines are found in a file's chunks wherever these are cut, and pieces cover them all."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.batches import files, lines
from service.batches.lines import BatchLine, FoundLine, ReadChunk, find_lines, parse_line, plan_file
from service.settings import load_settings

SETTINGS = load_settings()
TEXTS = st.lists(st.binary(max_size=12).map(lambda text: text.replace(b"\n", b"")), max_size=12)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of seven bytes, so that lines lie across them."""
    monkeypatch.setattr(files, "CHUNK_BYTES", 7)
    monkeypatch.setattr(lines, "CHUNK_BYTES", 7)


def cut(content: bytes) -> ReadChunk:
    chunks = [content[start : start + 7] for start in range(0, len(content), 7)]
    return lambda position: chunks[position] if position < len(chunks) else None


def make_line(name: str) -> bytes:
    return json.dumps({"custom_id": name, "url": "/v1/judge", "body": {}}).encode()


@given(texts=TEXTS, ends_with_line_feed=st.booleans())
def test_every_line_that_is_not_blank_is_found_where_it_lies(texts: list[bytes], *, ends_with_line_feed: bool) -> None:
    content = b"\n".join(texts) + b"\n" * ends_with_line_feed
    found = list(find_lines(cut(content), max_line_bytes=100))
    assert [line.number for line in found] == [i for i, text in enumerate(texts, 1) if text.strip()]
    for line in found:
        assert content[line.start_byte : line.end_byte] == line.content
        assert (line.content or b"").removesuffix(b"\n") == texts[line.number - 1]


@given(texts=TEXTS, start=st.integers(0, 11), stop=st.integers(1, 12))
def test_a_part_of_a_file_can_be_read_alone(texts: list[bytes], start: int, stop: int) -> None:
    content = b"\n".join(texts)
    everything = list(find_lines(cut(content), max_line_bytes=100))
    part = everything[start:stop]
    if part:
        again = find_lines(
            cut(content),
            max_line_bytes=100,
            first_line=part[0].number,
            start_byte=part[0].start_byte,
            end_byte=part[-1].end_byte,
        )
        assert list(again) == part


@given(texts=TEXTS)
def test_a_line_over_the_limit_is_found_without_its_content(texts: list[bytes]) -> None:
    content = b"".join(text + b"\n" for text in texts)
    for line in find_lines(cut(content), max_line_bytes=5):
        is_long = line.end_byte - line.start_byte > 5
        assert (line.content is None) == is_long


@pytest.mark.parametrize("num_lines", [1, 2, 31, 33, 500])
@pytest.mark.parametrize("num_workers", [1, 8])
def test_pieces_cover_all_lines_once_and_leave_no_worker_without_one(num_lines: int, num_workers: int) -> None:
    content = b"\n\n".join(make_line(str(i)) for i in range(num_lines))
    plan = plan_file(cut(content), settings=load_settings(batch_workers=num_workers))
    assert plan.num_lines == num_lines
    assert len(plan.pieces) >= min(num_lines, num_workers)
    assert [piece.position for piece in plan.pieces] == list(range(len(plan.pieces)))
    found: list[FoundLine] = []
    for piece in plan.pieces:
        part = list(
            find_lines(
                cut(content),
                max_line_bytes=1_000,
                first_line=piece.first_line,
                start_byte=piece.start_byte,
                end_byte=piece.end_byte,
            )
        )
        assert (part[0].number, part[-1].number) == (piece.first_line, piece.last_line)
        assert len(part) <= 32
        found += part
    assert [parse_line(line, endpoint="/v1/judge", settings=SETTINGS).custom_id for line in found] == [
        str(i) for i in range(num_lines)
    ]


def test_every_duplicate_is_named_with_its_line() -> None:
    content = b"\n".join(make_line(name) for name in ("a", "b", "a", "c", "b"))
    plan = plan_file(cut(content), settings=SETTINGS)
    assert [(problem.code, problem.line) for problem in plan.problems] == [
        ("duplicate_custom_id", 3),
        ("duplicate_custom_id", 5),
    ]
    assert "of line 1 as well" in plan.problems[0].message


def test_a_byte_order_mark_and_carriage_returns_do_not_matter() -> None:
    content = b"\xef\xbb\xbf" + make_line("a") + b"\r\n" + make_line("b") + b"\r\n"
    parsed = [
        parse_line(line, endpoint="/v1/judge", settings=SETTINGS)
        for line in find_lines(cut(content), max_line_bytes=1_000)
    ]
    assert [line.custom_id for line in parsed] == ["a", "b"]
    assert all(line.refusal is None for line in parsed)


def test_a_byte_order_mark_hides_no_duplicate() -> None:
    content = b"\xef\xbb\xbf" + make_line("a") + b"\n" + make_line("a")
    plan = plan_file(cut(content), settings=SETTINGS)
    assert [(problem.code, problem.line) for problem in plan.problems] == [("duplicate_custom_id", 2)]


def test_a_line_of_too_many_values_is_an_error_of_its_own_and_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("the line was parsed")

    content = b'{"custom_id": "a", "url": "/v1/judge", "body": {"x": [' + b"[]," * 5_000 + b"[]]}}"
    monkeypatch.setattr(lines, "from_json", fail)
    plan = plan_file(cut(content), settings=SETTINGS)
    assert (plan.num_lines, plan.problems) == (1, ())
    [line] = find_lines(cut(content), max_line_bytes=100_000)
    refusal = parse_line(line, endpoint="/v1/judge", settings=SETTINGS).refusal
    assert refusal is not None
    assert refusal.code == "body_too_large"


@pytest.mark.parametrize("url", ["/v1/judge", "/v1/rerank"])
def test_texts_of_a_line_may_be_full_of_signs(url: str) -> None:
    texts = ['"[,]' * 5_000] * SETTINGS.max_candidates
    body = {"documents": texts} if url == "/v1/rerank" else dict.fromkeys(("question", "response_a"), texts[0])
    content = json.dumps({"custom_id": "a", "url": url, "body": body}).encode()
    found = FoundLine(number=1, start_byte=0, end_byte=len(content), content=content)
    assert json.loads(parse_line(found, endpoint=url, settings=SETTINGS).body) == body


def test_a_body_is_handed_on_as_it_was_written() -> None:
    body = {"question": "Wie groß? \u2028 🐕", "samples": 2, "temperature": 0.25, "seed": 2**62}
    line = json.dumps({"custom_id": "a", "url": "/v1/judge", "body": body}).encode()
    found = FoundLine(number=1, start_byte=0, end_byte=len(line), content=line)
    assert json.loads(parse_line(found, endpoint="/v1/judge", settings=SETTINGS).body) == body
    assert set(BatchLine.model_fields) == {"custom_id", "method", "url", "body"}
