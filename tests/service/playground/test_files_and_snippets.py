"""Preference rows out of a batch's files, snippets that paste as they are, and candidates."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from service.playground.batch_files import find_endpoint, read_failures, write_preferences
from service.playground.snippets import Call, find_service_url, write_curl, write_python
from service.samples import load_shipped_samples, write_batch_line

GOOD = {"status": "decided", "preferred": "B", "consistent": True, "margin": -0.6, "expert_conflict": False}


@pytest.mark.parametrize(
    ("change", "num_kept"),
    [
        ({}, 1),
        ({"status": "tie", "preferred": None}, 0),
        ({"consistent": False}, 0),
        ({"margin": -0.2}, 0),
        ({"expert_conflict": True}, 0),
    ],
)
def test_a_verdict_becomes_a_preference_only_if_it_is_sure(
    tmp_path: Path, change: dict[str, object], num_kept: int
) -> None:
    sample = load_shipped_samples()[0]
    given, output, target = (tmp_path / name for name in ("in.jsonl", "out.jsonl", "preferences.jsonl"))
    given.write_text(write_batch_line(sample) + "not JSON\n", "utf-8")
    line = {"custom_id": sample.id, "response": {"body": {**GOOD, **change}}, "error": None}
    output.write_text(json.dumps(line) + "\n", "utf-8")
    assert write_preferences(given, output, target) == num_kept
    rows = [json.loads(row) for row in target.read_text("utf-8").splitlines()]
    assert len(rows) == num_kept
    for row in rows:
        assert row["chosen"][0]["content"][0]["text"] == sample.response_b
        assert row["rejected"][0]["content"][0]["text"] == sample.response_a
        assert row["prompt"][0]["content"][-1]["text"] == sample.question
        assert row["images"][0].startswith("data:image/png;base64,")
        assert row["margin"] == 0.6


def test_failures_are_read_up_to_where_the_text_was_cut() -> None:
    line = json.dumps({"custom_id": "7", "error": {"message": "No picture."}})
    assert read_failures([line, line[:20], ""]) == [("7", "No picture.")]


def test_a_failed_line_without_a_name_is_called_that() -> None:
    line = json.dumps({"custom_id": None, "error": {"message": "Not JSON."}})
    assert read_failures([line]) == [("a line without a custom_id", "Not JSON.")]


@pytest.mark.parametrize(
    ("content", "endpoint"),
    [
        ('{"url": "/v1/rerank"}', "/v1/rerank"),
        ('{"url": "/v1/judge"}', "/v1/judge"),
        ("", "/v1/judge"),
        ("x", "/v1/judge"),
    ],
)
def test_the_first_line_says_what_a_batch_is_for(tmp_path: Path, content: str, endpoint: str) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text(content, "utf-8")
    assert find_endpoint(file) == endpoint


def make_call(**fields: object) -> Call:
    values = {
        "url": "http://127.0.0.1:8000",
        "image": 'it\'s; a "photo", 1.png',
        "question": "How many?\n$HOME `id` 'x'",
        "response_a": "@/etc/passwd",
        "response_b": "<script>",
        "needs_key": False,
        **fields,
    }
    return Call(**values)  # type: ignore[arg-type]


def test_the_shell_sees_each_text_as_it_was_entered() -> None:
    words = shlex.split(write_curl(make_call()).replace("\\\n", ""))
    assert words[:3] == ["curl", "-s", "http://127.0.0.1:8000/v1/judge"]
    texts = [words[i + 1] for i, word in enumerate(words) if word == "--form-string"]
    assert texts == ["question=How many?\n$HOME `id` 'x'", "response_a=@/etc/passwd", "response_b=<script>"]
    assert words[4] == 'image=@"it\'s; a \\"photo\\", 1.png"'


def test_a_key_is_named_and_never_written() -> None:
    assert '"Authorization: Bearer $GENRM_API_KEY"' in write_curl(make_call(needs_key=True))
    assert 'os.environ["GENRM_API_KEY"]' in write_python(make_call(needs_key=True))


def test_the_python_is_a_program() -> None:
    compile(write_python(make_call(needs_key=True)), "snippet", "exec")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Gradio's own, at its import
def test_candidates_come_one_a_line_or_as_json() -> None:
    pytest.importorskip("gradio", reason="the extra 'ui' is not installed")
    from service.playground.rank_tab import count_costs, read_candidates

    assert read_candidates(" one \n\n two\n") == ["one", "two"]
    assert read_candidates('["one\\ntwo", "three"]') == ["one\ntwo", "three"]
    assert read_candidates("[1, 2]") == ["[1, 2]"]
    assert count_costs(8) == {"all_pairs": 28, "swiss": 11, "knockout": 7}


def test_a_service_without_a_page_never_imports_gradio() -> None:
    code = "import sys, service.app; sys.exit('gradio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("page", "service"),
    [
        ("http://127.0.0.1:8000/playground/", "http://127.0.0.1:8000"),
        ("https://playground.example.com/playground", "https://playground.example.com"),
        ("https://example.com/playground-of-alice/playground/", "https://example.com/playground-of-alice"),
    ],
)
def test_snippets_name_the_service_whatever_its_host_is_called(page: str, service: str) -> None:
    assert find_service_url(page) == service
