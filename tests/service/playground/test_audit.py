"""The page's audit: what it counts, and which files it reads."""

import json
from pathlib import Path

import pytest

from genrm.types import Response
from service.exchange import ServiceError
from service.playground.audit import Audit, AuditRow, Share, read_audit_rows, summarise
from service.playground.audit_plots import render_plots
from service.samples import load_shipped_samples, write_batch_line
from service.schemas import JudgeResponse
from service.settings import Settings

SETTINGS = Settings()
VERDICT = {
    "id": "v",
    "created": 0,
    "model": "judge",
    "prompt_version": "1",
    "status": "decided",
    "preferred": "A",
    "probabilities": {"A": 0.9, "B": 0.1},
    "margin": 0.8,
    "confidence": 0.9,
    "consistent": True,
    "label_mass": 1.0,
    "probability_source": "logprobs",
    "critique": "",
    "readings": [],
    "usage": {"prompt_tokens": 0, "completion_tokens": 0, "cached_tokens": 0},
    "timings_ms": {},
}


def make_reading(first: Response, p_a: float) -> dict[str, object]:
    return {
        "first": first,
        "critique": "",
        "probabilities": {"A": p_a, "B": 1 - p_a},
        "label_mass": 1.0,
        "finish_reason": "stop",
        "completion_tokens": 1,
    }


def make_pair(a: str, b: str, better: Response | None, **verdict: object) -> tuple[AuditRow, JudgeResponse]:
    row = AuditRow(name="row", body={"question": "?", "response_a": a, "response_b": b}, better=better)
    return row, JudgeResponse.model_validate({**VERDICT, **verdict})


def test_wilson_s_interval_is_the_textbook_s() -> None:
    low, high = Share(count=8, total=10).interval
    assert (round(low, 3), round(high, 3)) == (0.490, 0.943)
    assert Share(count=0, total=0).interval == (0.0, 1.0)


def test_a_judge_that_always_takes_the_first_is_found_out() -> None:
    readings = [make_reading("A", 0.9), make_reading("B", 0.1)]
    audit = Audit(verdicts=[make_pair("x", "y", None, readings=readings, consistent=False)] * 3)
    assert audit.count_first() == Share(count=6, total=6)
    assert audit.count_flips() == Share(count=3, total=3)


def test_the_longer_response_and_the_yes_are_counted_beside_the_truth() -> None:
    audit = Audit(
        verdicts=[
            make_pair("yes it is", "no", "B"),
            make_pair("no", "Yes, there are many", "B", preferred="A"),
            make_pair("same length", "as this", "A"),
        ]
    )
    assert audit.count_longer() == Share(count=1, total=2)
    assert audit.count_longer(of_truth=True) == Share(count=1, total=2)
    assert audit.count_yes() == Share(count=1, total=2)
    assert audit.count_yes(of_truth=True) == Share(count=1, total=2)


def test_ties_and_abstentions_are_no_choices() -> None:
    audit = Audit(verdicts=[make_pair("long one", "b", "A", status="tie", preferred=None)])
    assert audit.count_longer() == Share(count=0, total=0)
    assert audit.count_right() == Share(count=0, total=0)


def test_the_calibration_error_is_the_distance_of_confidence_from_being_right() -> None:
    audit = Audit(verdicts=[make_pair("a", "b", better) for better in ("A", "A", "A", "B")])
    assert audit.count_right() == Share(count=3, total=4)
    assert audit.calibration_error() == pytest.approx(0.9 - 0.75)


def test_without_a_truth_there_is_no_calibration_error() -> None:
    audit = Audit(verdicts=[make_pair("a", "b", None)])
    assert audit.calibration_error() is None
    assert ("Calibration error", "no truth in the rows") in summarise(audit)


def test_each_plot_says_in_words_what_it_shows() -> None:
    audit = Audit(verdicts=[make_pair("yes it is", "no", "A", readings=[make_reading("A", 0.9)])])
    html = render_plots(audit)
    assert html.count("<img ") == 4
    for words in ("Position. orders disagree: 0% (0 of 1)", "Length. ", "Yes. ", "Calibration. at 0.90: 100% (1 of 1)"):
        assert words in html


def test_lines_of_a_batch_and_bare_bodies_are_both_read(tmp_path: Path) -> None:
    sample = load_shipped_samples()[0]
    line = json.loads(write_batch_line(sample))
    file = tmp_path / "rows.jsonl"
    file.write_text(
        f"{json.dumps({**line, 'better': 'B'})}\n\n{json.dumps({**line['body'], 'better': 'A'})}\n", "utf-8"
    )
    rows = read_audit_rows(file, SETTINGS, max_rows=10)
    assert [row.better for row in rows] == ["B", "A"]
    assert [row.name for row in rows] == [sample.id, "line 3"]
    assert all("better" not in row.body for row in rows)
    assert rows[1].read_text("A") == sample.response_a


def test_no_more_rows_are_read_than_wanted(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"question": "?"}\n' * 5 + "no JSON", "utf-8")
    assert len(read_audit_rows(file, SETTINGS, max_rows=5)) == 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no lines"),
        (b"\n \n", "no lines"),
        (b'{"question": "?"}\nnonsense\n', "Line 2 is not JSON"),
        (b"[1, 2]\n", "Line 1 is no comparison"),
        (b'{"body": "text"}\n', "Line 1 is no comparison"),
        (b"\xff\xfe\x00\n", "Line 1 is not JSON"),
        (b'{"body": ' * 300 + b"1" + b"}" * 300, "Line 1 is not JSON"),
        (b'{"question": "?", "images": [' + b"1," * 5_000 + b"1]}", "Line 1: The JSON body has 5,0.. commas"),
        (b"[" * 100_000, "Line 1: The JSON body has 100,000"),
    ],
)
def test_a_file_that_holds_no_comparisons_is_refused_with_the_line(
    tmp_path: Path, content: bytes, message: str
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(content)
    with pytest.raises(ServiceError, match=message):
        read_audit_rows(file, SETTINGS, max_rows=10)
