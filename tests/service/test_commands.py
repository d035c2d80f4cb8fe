"""`vl-genrm serve`, `judge` and `verify`: options, output, and errors of one line."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from genrm import cli
from genrm.engines.fake import FakeEngine
from service import app as service_app
from service import server as service_server
from service.lifecycle import Lifecycle
from service.schemas import JudgeResponse

if TYPE_CHECKING:
    from fastapi import FastAPI

    from service.settings import Settings
    from tests.service.conftest import LiveServer, MakeImage, Serve

TEXTS = ["--question", "How many discs?", "--a", "One.", "--b", "Three."]


@pytest.fixture
def photo(tmp_path: Path, make_image: MakeImage) -> str:
    """An image file."""
    path = tmp_path / "photo.png"
    path.write_bytes(make_image())
    return str(path)


def run(*arguments: str) -> int:
    """Run the command line in this process; its exit status."""
    with pytest.raises(SystemExit) as end:
        cli.main(list(arguments))
    return end.value.code if isinstance(end.value.code, int) else 0


def use_fake_engine(monkeypatch: pytest.MonkeyPatch, engine: FakeEngine) -> list[Settings]:
    """Let local judgements run on `engine`; the settings that each was asked with."""
    seen: list[Settings] = []
    create = service_app.create_app

    def create_with_engine(settings: Settings) -> FastAPI:
        seen.append(settings)
        return create(settings, lambda *_: engine)

    monkeypatch.setattr(service_app, "create_app", create_with_engine)
    return seen


def test_a_verdict_is_printed_for_people(
    monkeypatch: pytest.MonkeyPatch, photo: str, capsys: pytest.CaptureFixture[str]
) -> None:
    use_fake_engine(monkeypatch, FakeEngine())
    assert run("judge", photo, *TEXTS) == 0
    printed = capsys.readouterr()
    assert " is better" in printed.out
    assert "█" in printed.out
    assert printed.err == ""


def test_json_is_the_service_s_own(
    monkeypatch: pytest.MonkeyPatch, photo: str, capsys: pytest.CaptureFixture[str]
) -> None:
    use_fake_engine(monkeypatch, FakeEngine())
    assert run("judge", photo, *TEXTS, "--json") == 0
    verdict = JudgeResponse.model_validate_json(capsys.readouterr().out)
    assert verdict.model == "fake"


def test_a_service_that_wants_a_key_gets_it_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, serve: Serve, photo: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(api_keys="alice:a-long-enough-key-1") as live:
        assert run("judge", photo, *TEXTS, "--url", live.url) == 1
        assert "wants one" in capsys.readouterr().err
        monkeypatch.setenv("GENRM_API_KEY", "a-long-enough-key-1")
        assert run("judge", photo, *TEXTS, "--url", live.url) == 0
        assert run("verify", photo, "--text", "There is a disc.", "--url", live.url) == 1
        assert "no vision experts" in capsys.readouterr().err


def test_keys_of_the_service_do_not_keep_a_person_from_judging_here(
    monkeypatch: pytest.MonkeyPatch, photo: str
) -> None:
    use_fake_engine(monkeypatch, FakeEngine())
    monkeypatch.setenv("GENRM_API_KEYS", "alice:a-long-enough-key-1")
    assert run("judge", photo, *TEXTS) == 0


def test_a_person_can_judge_here_while_a_service_has_the_database(
    monkeypatch: pytest.MonkeyPatch, serve: Serve, photo: str, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'genrm.db'}"
    with serve(database_url=url):
        use_fake_engine(monkeypatch, FakeEngine())
        monkeypatch.setenv("GENRM_DATABASE_URL", url)
        assert run("judge", photo, *TEXTS) == 0


def test_options_of_the_model_become_settings(monkeypatch: pytest.MonkeyPatch, photo: str) -> None:
    seen = use_fake_engine(monkeypatch, FakeEngine())
    assert run("judge", photo, *TEXTS, "--model", "m", "--adapter", "x", "--device", "cpu") == 0
    assert (seen[0].model, seen[0].adapter, seen[0].device) == ("m", "x", "cpu")


def test_options_of_the_judgement_reach_the_judge(
    monkeypatch: pytest.MonkeyPatch, photo: str, capsys: pytest.CaptureFixture[str]
) -> None:
    use_fake_engine(monkeypatch, FakeEngine())
    options = ["--mode", "critique", "--samples", "2", "--seed", "3", "--temperature", "0.5", "--json"]
    assert run("judge", photo, *TEXTS, *options) == 0
    assert len(json.loads(capsys.readouterr().out)["readings"]) == 4


def test_a_running_service_can_be_asked(live: LiveServer, photo: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("judge", photo, *TEXTS, "--url", live.url, "--mode", "fast", "--json") == 0
    verdict = json.loads(capsys.readouterr().out)
    assert (verdict["model"], verdict["critique"]) == ("fake", "")


@pytest.mark.parametrize("is_remote", [False, True])
def test_a_card_is_written_beside_what_is_printed(
    monkeypatch: pytest.MonkeyPatch,
    live: LiveServer,
    photo: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    is_remote: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    use_fake_engine(monkeypatch, FakeEngine())
    card = tmp_path / "card.png"
    where = ["--url", live.url] if is_remote else []
    assert run("judge", photo, photo, *TEXTS, *where, "--card", str(card), "--json") == 0
    assert json.loads(capsys.readouterr().out)["model"] == "fake"
    with Image.open(card) as written:
        assert written.format == "PNG"


@pytest.mark.parametrize("name", ["card.jpg", "missing/card.png"])
def test_a_card_that_cannot_be_written_is_told_before_anything_is_judged(
    monkeypatch: pytest.MonkeyPatch, photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    seen = use_fake_engine(monkeypatch, FakeEngine())
    assert run("judge", photo, *TEXTS, "--card", str(tmp_path / name)) == 1
    assert str(tmp_path / name) in one_line(capsys)
    assert seen == []


def test_a_text_is_verified_and_its_picture_written(
    photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "evidence.png"
    assert run("verify", photo, "--text", "There is a dog.", "--experts", "shipped", "--annotated", str(picture)) == 0
    assert capsys.readouterr().out.startswith("dog × 1: ")
    with Image.open(picture) as written:
        assert written.format == "PNG"


def test_a_picture_that_cannot_be_written_is_told_behind_the_findings(
    photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = tmp_path / "missing" / "evidence.png"
    assert run("verify", photo, "--text", "There is a dog.", "--experts", "shipped", "--annotated", str(nowhere)) == 2
    printed = capsys.readouterr()
    assert printed.out.startswith("dog × 1: ")
    assert "No such file or directory" in printed.err


def test_without_experts_nothing_can_be_verified(photo: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("verify", photo, "--text", "There is a dog.", "--experts", "none") == 1
    assert "No vision experts are configured" in one_line(capsys)


def test_several_images_are_judged_together(live: LiveServer, photo: str) -> None:
    assert run("judge", photo, photo, *TEXTS, "--url", live.url) == 0


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.strip().splitlines()) == 1, printed.err
    assert "Traceback" not in printed.err
    return printed.err


def test_a_missing_image_is_one_line_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_fake_engine(monkeypatch, FakeEngine())
    assert run("judge", "no-such.png", *TEXTS) == 1
    assert "no-such.png" in one_line(capsys)


def test_a_refusal_is_one_line_and_status_1(
    monkeypatch: pytest.MonkeyPatch, photo: str, capsys: pytest.CaptureFixture[str]
) -> None:
    use_fake_engine(monkeypatch, FakeEngine())
    assert run("judge", photo, "--question", " ", "--a", "One.", "--b", "Three.") == 1
    assert "question" in one_line(capsys)


def test_a_service_that_is_not_there_is_one_line_and_status_1(photo: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("judge", photo, *TEXTS, "--url", "http://127.0.0.1:9") == 1
    assert "vl-genrm serve" in one_line(capsys)


def test_a_missing_model_folder_is_one_line_and_status_1(photo: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("judge", photo, *TEXTS, "--model", "./no-such-folder") == 1
    assert "no-such-folder" in one_line(capsys)


@pytest.mark.parametrize(
    "arguments",
    [
        ["judge"],
        ["judge", "x.png"],
        ["judge", "x.png", *TEXTS, "--mode", "slow"],
        ["judge", "x.png", *TEXTS, "--samples", "0"],
        ["judge", "x.png", *TEXTS, "--url", "http://x", "--device", "cpu"],
        ["serve", "--port", "many"],
        ["serve", "--no-such-option"],
    ],
)
def test_wrong_usage_is_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_setting_out_of_range_is_one_line_and_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("serve", "--port", "99999") == 1
    assert "GENRM_PORT is 99999" in one_line(capsys)


def test_a_busy_port_is_told_before_any_model_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("the application was built")

    monkeypatch.setattr(service_app, "create_app", fail)
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        assert run("serve", "--port", str(port)) == 1
    line = one_line(capsys)
    assert f"Port {port} on 127.0.0.1 is in use" in line
    assert "--port" in line


def test_a_busy_port_for_metrics_is_told_before_a_model_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(service_app, "create_app", lambda *_: pytest.fail("the application was built"))
    with socket.create_server(("127.0.0.1", 0)) as busy:
        monkeypatch.setenv("GENRM_METRICS_PORT", str(busy.getsockname()[1]))
        assert run("serve", "--port", "0") == 1
    assert "with GENRM_METRICS_PORT" in one_line(capsys)


def test_flags_override_the_environment(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Settings] = []

    def take_settings(app: FastAPI, settings: Settings, *_: object, **__: object) -> None:
        lifecycle = app.state.lifecycle
        assert isinstance(lifecycle, Lifecycle)
        seen.append(settings)

    monkeypatch.setattr(service_server, "run_server", take_settings)
    monkeypatch.setenv("GENRM_DEVICE", "cuda")
    monkeypatch.setenv("GENRM_DTYPE", "bfloat16")
    assert run("serve", "--port", "0", "--device", "cpu", "--max-tokens", "99", "--log-format", "json") == 0
    (settings,) = seen
    assert (settings.device, settings.dtype, settings.max_tokens) == ("cpu", "bfloat16", 99)
    assert settings.log_format == "json"
    assert capsys.readouterr().err == ""


def test_a_misspelt_variable_is_told_and_the_service_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(service_server, "run_server", lambda *_, **__: None)
    monkeypatch.setenv("GENRM_MAX_TOKEN", "5")
    assert run("serve", "--port", "0") == 0
    assert "did you mean GENRM_MAX_TOKENS?" in capsys.readouterr().err


def test_the_commands_import_nothing_heavy_before_they_run() -> None:
    heavy = {"torch", "transformers", "fastapi", "uvicorn", "httpx", "pydantic", "PIL", "rich.console", "structlog"}
    code = f"import sys, service.commands; print(sorted({heavy!r} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() in ("[]", "['rich.console']")  # typer itself may bring rich
