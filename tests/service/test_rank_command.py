"""`vl-genrm rank`: candidates from options and files, what is printed, and mistakes named in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer
from typer.testing import CliRunner

from genrm.engines.fake import FakeEngine
from service import app as service_app
from service.rank_command import rank, read_candidates
from service.rerank_schemas import RerankResponse

if TYPE_CHECKING:
    from fastapi import FastAPI

    from service.settings import Settings
    from tests.service.conftest import LiveServer, MakeImage

app = typer.Typer()
app.command()(rank)
TEXTS = ["There is one disc.", "There are two discs.", "There are three."]


@pytest.fixture
def photo(tmp_path: Path, make_image: MakeImage) -> str:
    """An image file."""
    path = tmp_path / "photo.png"
    path.write_bytes(make_image())
    return str(path)


def test_a_running_service_is_asked_and_its_ranking_printed(live: LiveServer, photo: str) -> None:
    words = [photo, "--question", "How many?", *(word for text in TEXTS for word in ("--candidate", text))]
    answer = CliRunner().invoke(app, [*words, "--url", live.url, "--strategy", "all_pairs"])
    assert answer.exit_code == 0, answer.output
    lines = answer.output.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["1", "2", "3"]
    assert all(any(text in line for line in lines[1:4]) for text in TEXTS)
    assert "all_pairs, 3 judgements" in lines[-1]


def test_a_file_of_candidates_is_ranked_here(monkeypatch: pytest.MonkeyPatch, photo: str, tmp_path: Path) -> None:
    create = service_app.create_app

    def create_with_fake(settings: Settings) -> FastAPI:
        return create(settings, lambda *_: FakeEngine())

    monkeypatch.setattr(service_app, "create_app", create_with_fake)
    file = tmp_path / "candidates.json"
    file.write_text(json.dumps(TEXTS))
    words = [photo, "--question", "How many?", "--candidates", str(file), "--experts", "none", "--json"]
    answer = CliRunner().invoke(app, [*words, "--budget", "2"])
    assert answer.exit_code == 0, answer.output
    ranking = RerankResponse.model_validate_json(answer.output)
    assert (ranking.strategy, ranking.judgements) == ("knockout", 2)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "nothing to rank"),
        (["--candidates", "missing.txt"], "cannot be read from missing.txt"),
        (["--candidate", "a", "--url", "http://127.0.0.1:9", "--device", "cpu"], "--device has no effect"),
    ],
)
def test_a_mistake_is_named(photo: str, words: list[str], complaint: str) -> None:
    answer = CliRunner().invoke(app, [photo, "--question", "?", *words], env={"COLUMNS": "300", "TERM": "dumb"})
    assert answer.exit_code == 2
    assert complaint in answer.output


def test_files_of_candidates_are_lines_or_an_array_of_texts(tmp_path: Path) -> None:
    file = tmp_path / "candidates"
    file.write_text("One.\n\n  Two, or [three].  \n")
    assert read_candidates(file) == ["One.", "Two, or [three]."]
    file.write_text('["One.\\nOr more.", "Two."]')
    assert read_candidates(file) == ["One.\nOr more.", "Two."]
    for wrong, complaint in (('["One"', "begins like a JSON array"), ("[1, 2]", "no text"), (b"\xff\xfe", "not UTF-8")):
        file.write_bytes(wrong if isinstance(wrong, bytes) else wrong.encode())
        with pytest.raises(typer.BadParameter, match=complaint):
            read_candidates(file)
