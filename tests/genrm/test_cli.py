"""The root command: which sub-commands it has, how it refuses, and that it stays light."""

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, version
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from genrm.cli import ENTRY_POINT_GROUP, build_app, find_commands, main
from genrm.errors import ModelLoadError

HEAVY = ("torch", "torchvision", "transformers", "peft", "fastapi", "uvicorn", "matplotlib", "numpy")


def greet(name: str = "world") -> None:
    """Say hello."""
    typer.echo(f"hello {name}")


def refuse() -> None:
    """Fail as a command does whose model is missing."""
    message = "Model folder 'nowhere' does not exist. Give a folder or a hub id."
    raise ModelLoadError(message)


def write(path: Path) -> None:
    """Write a file as commands do."""
    path.write_text("x")


def encode(text: str) -> None:
    """Send a text as commands do."""
    typer.echo(len(text.encode()))


def fail_of_itself() -> None:
    """Fail of a mistake of ours, which needs its traceback."""
    raise OSError(errno.ENOTCONN, "Not connected")


def read_own() -> None:
    """Fail on a file that nobody named."""
    Path("/missing/of-ours").read_text()


def encode_own() -> None:
    """Fail on a text that nobody gave."""
    "\udcff".encode()


def commands_of(**targets: str) -> dict[str, EntryPoint]:
    return {name: EntryPoint(name, value, ENTRY_POINT_GROUP) for name, value in targets.items()}


@pytest.fixture(autouse=True)
def importable_test_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cli_under_test", sys.modules[__name__])


def test_every_package_command_is_announced_and_named_in_the_help() -> None:
    help_text = CliRunner().invoke(build_app(find_commands()), ["--help"]).output
    assert set(find_commands()) >= {"serve", "judge", "pocket"}
    for name in find_commands():
        assert name in help_text


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys, json, contextlib, io\n"
        "from genrm.cli import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as shown:\n"
        "    main(['--help'])\n"
        f"print(json.dumps([len(shown.getvalue()), [m for m in {HEAVY!r} if m in sys.modules]]))\n"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    shown_characters, heavy = json.loads(answer.stdout)
    assert shown_characters > 0
    assert heavy == []


def test_version_is_the_installed_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"vl-genrm {version('vl-genrm')}\n"


def test_only_the_called_command_is_imported() -> None:
    commands = commands_of(greet="cli_under_test:greet", broken="no_such_module_anywhere:command")
    answer = CliRunner().invoke(build_app(commands, only="greet"), ["greet", "--name", "Ada"])
    assert answer.output == "hello Ada\n"
    with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
        build_app(commands)


def test_a_mistyped_command_is_answered_with_the_nearest_one() -> None:
    app = build_app(commands_of(greet="cli_under_test:greet", refuse="cli_under_test:refuse"), only="gret")
    answer = CliRunner().invoke(app, ["gret"])
    assert answer.exit_code == 2
    assert "Did you mean 'greet'?" in answer.output


def test_a_foreseen_refusal_is_one_line_and_exit_status_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("genrm.cli.find_commands", lambda: commands_of(refuse="cli_under_test:refuse"))
    with pytest.raises(SystemExit) as stop:
        main(["refuse"])
    assert stop.value.code == 1
    assert capsys.readouterr().err == "vl-genrm: Model folder 'nowhere' does not exist. Give a folder or a hub id.\n"


@pytest.fixture
def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a command says on standard error as it exits with 1."""

    def run(target: str, *arguments: str) -> str:
        monkeypatch.setattr("genrm.cli.find_commands", lambda: commands_of(run=f"cli_under_test:{target}"))
        with pytest.raises(SystemExit) as stop:
            main(["run", *arguments])
        assert stop.value.code == 1
        return capsys.readouterr().err

    return run


def test_a_path_that_cannot_be_written_is_one_line(refusal: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refusal("write", f"{tmp_path}/file/in-it") == (
        f"vl-genrm: {tmp_path}/file/in-it: Not a directory. Give another path, or see to this one.\n"
    )
    assert refusal("write", str(tmp_path)).startswith(f"vl-genrm: {tmp_path}: Is a directory.")
    assert "No such file or directory" in refusal("write", f"{tmp_path}/missing/file")


def test_bytes_that_are_no_text_are_named(refusal: Callable[..., str]) -> None:
    assert refusal("encode", "a\udcff") == "vl-genrm: Not UTF-8: 'a\\udcff'. Texts are given in UTF-8.\n"


@pytest.mark.parametrize(
    ("target", "error"),
    [("fail_of_itself", OSError), ("read_own", FileNotFoundError), ("encode_own", UnicodeEncodeError)],
)
def test_faults_of_our_own_keep_their_traceback(
    monkeypatch: pytest.MonkeyPatch, target: str, error: type[Exception]
) -> None:
    monkeypatch.setattr("genrm.cli.find_commands", lambda: commands_of(run=f"cli_under_test:{target}"))
    with pytest.raises(error):
        main(["run"])
