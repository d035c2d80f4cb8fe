"""The guides of docs/guides, run block by block: what a guide tells its reader to do works and prints what it shows.

A `bash` or `python` block is run, in the guide's order and in one folder, against a service with the shipped judge. A
`text` block behind it is what it prints: every line must be printed, an `…` standing for anything. Commands of
`vl-genrm` run in this process, so that PyTorch is imported once. Blocks marked `no-test` are not run; their options
and files must exist.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from genrm import cli
from genrm.shipped import judge_folder
from pocket.drawing import FontMissingError, emoji_font_path
from service.errors import HTTP_STATUS
from service.settings import Settings

ROOT = Path(__file__).parents[1]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
CALLERS_KEY = "api_key"
"""`GENRM_API_KEY` is what our commands send to a service, so no setting of one."""
URL = "http://127.0.0.1:8000"
"""Where the guides' service listens."""
SHORTER = (("--n 40", "--n 8"), ("?n=24&seed=5", "?n=12&seed=5"))
"""What a test makes smaller."""
FAMILIES = {"train", "eval", "pocket", "keys"}
"""Commands with sub-commands."""

needs_judge = pytest.mark.skipif(
    not (judge_folder() / "config.json").is_file(), reason="the shipped judge is not built"
)


def blocks_of(guide: Path) -> list[tuple[str, str]]:
    """Info string and content of every fenced block, in order."""
    return re.findall(r"^```([^\n]+)\n(.*?)^```$", guide.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def lines_of(block: str) -> list[str]:
    """The lines of a shell block, continued ones joined."""
    return block.replace("\\\n", " ").splitlines()


def commands_of(block: str) -> list[list[str]]:
    """The words of every line of a shell block of plain commands, comments dropped."""
    return [words for line in lines_of(block) if (words := shlex.split(line, comments=True))]


def missing_lines(shown: str, printed: str) -> list[str]:
    """Lines of a `text` block that were not printed. Runs of white space are alike; `…` stands for anything."""
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    missing = []
    for line in shown.splitlines():
        pattern = ".*".join(re.escape(part.strip()) for part in " ".join(line.split()).split("…"))
        if not any(re.fullmatch(pattern, each) for each in lines):
            missing.append(line)
    return missing


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a service with default settings: the shipped judge, its expert and a database, in this process."""
    from service.app import create_app
    from service.server import JudgeServer, format_url, open_port
    from service.settings import load_settings

    database = tmp_path_factory.mktemp("service") / "genrm.db"
    settings = load_settings(shutdown_timeout_seconds=5, database_url=f"sqlite:///{database}")
    ready = threading.Event()
    with open_port("127.0.0.1", 0) as listener:
        server = JudgeServer(create_app(settings), settings, on_ready=lambda _: ready.set())
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert ready.wait(300), "the service did not become ready"
            yield format_url(listener)
        finally:
            server.should_exit = True
            thread.join(60)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like the root of the repository, with `vl-genrm` on the path of its shell."""
    for name in ("genrm", "training", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    programs = tmp_path / "programs"
    programs.mkdir()
    command = programs / "vl-genrm"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m genrm.cli "$@"\n', "utf-8")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def need_font() -> None:
    """Skip where the colour-emoji font is not installed that scenes are drawn with."""
    try:
        emoji_font_path()
    except FontMissingError as error:
        pytest.skip(str(error))


def run_here(commands: Sequence[Sequence[str]], capfd: pytest.CaptureFixture[str]) -> str:
    """What commands of `vl-genrm` print."""
    printed = ""
    for words in commands:
        with pytest.raises(SystemExit) as end:
            cli.main(words[1:])
        captured = capfd.readouterr()
        assert end.value.code == 0, f"{shlex.join(words)}\n{captured.err}"
        printed += captured.out + captured.err
    return printed


def run_apart(arguments: Sequence[str], block: str) -> str:
    """What a block prints in a process of its own."""
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@needs_judge
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("bash") is None, reason="bash and curl are needed")
@pytest.mark.skipif(importlib.util.find_spec("openai") is None, reason="needs the package openai, of the extra dev")
@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
@pytest.mark.usefixtures("workplace")
def test_a_guide_s_commands_work_and_print_what_it_shows(
    guide: Path, service: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if "pocket:" in guide.read_text("utf-8"):
        need_font()
    printed: str | None = None
    for info, content in blocks_of(guide):
        block = content.replace(URL, service)
        for long, short in SHORTER:
            block = block.replace(long, short)
        if info == "text" and printed is not None:
            assert missing_lines(content.replace(URL, service), printed) == [], printed
        elif info == "python":
            printed = run_apart([sys.executable, "-W", "error", "-c", block], block)
        elif info == "bash" and all(line.startswith("vl-genrm ") for line in lines_of(block)):
            printed = run_here(commands_of(block), capfd)
        elif info == "bash":
            printed = run_apart(["bash", "-e", "-o", "pipefail", "-c", block], block)
        else:
            printed = None


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_blocks_that_no_test_runs_name_options_and_files_that_exist(guide: Path) -> None:
    commands = [words for info, content in blocks_of(guide) if "no-test" in info for words in commands_of(content)]
    for words in commands:
        if "vl-genrm" in words:
            call = words[words.index("vl-genrm") + 1 :]
            depth = 2 if call[0] in FAMILIES else 1
            app = cli.build_app(cli.find_commands(), only=call[0])
            shown = CliRunner().invoke(
                app, [*call[:depth], "--help"], env={"COLUMNS": "300", "TERM": "dumb", "NO_COLOR": "1"}
            )
            assert shown.exit_code == 0, words
            assert {word for word in call if word.startswith("--")} <= set(re.findall(r"--[a-z][a-z-]*", shown.output))
        named = [word for word in words if re.match(r"(genrm|training|docs|docker|helm)/", word)]
        assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_blocks_of_a_guide_say_how_they_are_checked(guide: Path) -> None:
    assert {info for info, _ in blocks_of(guide)} <= {"bash", "bash no-test", "python", "text"}


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_settings_and_kinds_of_errors_that_a_guide_names_exist(guide: Path) -> None:
    text = guide.read_text("utf-8")
    assert {name[6:].lower() for name in re.findall(r"GENRM_[A-Z_]+", text)} <= {*Settings.model_fields, CALLERS_KEY}
    for statuses, row in re.findall(r"^\| ([\d, ]+) \|([^|]*)\|", text, re.MULTILINE):
        codes = re.findall(r"`(\w+)`", row)
        assert {HTTP_STATUS[code] for code in codes} == {int(status) for status in statuses.split(",")}, row
    for status, code in re.findall(r"\b(\d{3}) `(\w+)`", text):
        assert HTTP_STATUS[code] == int(status)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_a_guide_is_short_and_in_the_index(guide: Path) -> None:
    assert guide.read_text("utf-8").count("\n") <= 120
    assert f"(guides/{guide.name})" in (ROOT / "docs" / "README.md").read_text("utf-8")


def test_every_design_page_and_study_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if page != "README.md" and f"({page})" not in index] == []


def test_a_line_that_was_not_printed_is_found() -> None:
    assert missing_lines("both … agree\nA  is better", "x\nboth orders agree\n A is better\n") == []
    assert missing_lines("B is better", "A is better") == ["B is better"]
