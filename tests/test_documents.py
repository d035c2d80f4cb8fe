"""README, AGENTS.md and the design notes: what they show exists, and what they quote is current."""

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from genrm.cli import build_app, find_commands
from service.schemas import JudgeResponse
from service.settings_table import insert_table

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / name for name in ("README.md", "AGENTS.md", "CHANGELOG.md")] + [
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "helm").rglob("*.md")),
]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKE_WORDS = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def commands_of(program: str) -> list[list[str]]:
    """The words of every README shell line that calls `program`, without comments and with continued lines joined."""
    lines = "\n".join(code_blocks("sh")).replace("\\\n", " ").splitlines()
    calls = [shlex.split(line, comments=True) for line in lines]
    return [call for call in calls if call and call[0] == program]


def help_of(*words: str) -> str:
    app = build_app(find_commands(), only=words[0])
    answer = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "300", "TERM": "dumb", "NO_COLOR": "1"})
    assert answer.exit_code == 0, answer.output
    return answer.output


def test_the_settings_table_is_the_one_of_the_code() -> None:
    settings = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert insert_table(settings) == settings


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_inside_the_repository_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8"))
    assert [link for link in targets if "://" not in link and not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_a_document_names_exist(document: Path) -> None:
    """Checked are words in backticks that begin with one of our folders and have a slash."""
    named = re.findall(
        r"`((?:genrm|experts|service|training|pocket|tests|bench|docs|docker|helm)/[\w./-]+)`",
        document.read_text(encoding="utf-8"),
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_make_words_that_a_document_names_exist(document: Path) -> None:
    named = re.findall(r"`make (\w+)|^make (\w+)", document.read_text(encoding="utf-8"), re.MULTILINE)
    assert {one or two for one, two in named} <= MAKE_WORDS


@pytest.mark.parametrize("call", commands_of("vl-genrm"), ids=" ".join)
def test_commands_that_the_readme_shows_have_the_options_it_shows(call: list[str]) -> None:
    depth = 2 if call[1] in ("pocket", "train", "eval") else 1
    assert call[1] in find_commands()
    shown_options = {word for word in call if word.startswith("--")}
    assert shown_options <= set(re.findall(r"--[a-z][a-z-]*", help_of(*call[1 : 1 + depth])))


@pytest.mark.parametrize("block", code_blocks("python"))
def test_what_a_readme_example_imports_exists(block: str) -> None:
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            module = importlib.import_module(node.module)
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


def test_the_answer_that_the_readme_shows_is_an_answer_of_the_service() -> None:
    [block] = code_blocks("json")
    assert JudgeResponse.model_validate_json(block).readings


def test_pictures_that_the_readme_sends_are_in_the_repository() -> None:
    pictures = re.findall(r"image=@(\S+)", README)
    assert pictures
    assert [picture for picture in pictures if not (ROOT / picture).exists()] == []


def test_the_readme_draws_every_package() -> None:
    tree = README.split("## What lies where")[1]
    assert [
        name for name in ("genrm", "experts", "service", "training", "pocket", "tests") if f"{name}/" not in tree
    ] == []
