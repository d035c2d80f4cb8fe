"""Rules that every file keeps, so that no reviewer has to look for them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("genrm", "experts", "service", "training", "pocket")
TEXT_SUFFIXES = {"", ".cfg", ".ini", ".json", ".jsonl", ".jinja", ".md", ".py", ".sh", ".toml", ".txt", ".yaml", ".yml"}
TEXT_SUFFIXES |= {".tpl"}
NAMES_THAT_SAY_NOTHING = {"utils", "common", "helpers", "misc", "core", "base"}
MAX_LINES = 500

# In pieces, so that this file does not break its own rule.
PERSONAL_PATH = re.compile(rf"(?<![\w.])/(?:{'work|root|farm|home|Users'})/")
REGISTRY = re.compile(r"pypi[.]org|python[h]osted|registry[.]npmjs")


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def texts() -> Iterator[tuple[str, str]]:
    """Relative name and contents of every text file that belongs to the project."""
    # `.git` is a file in a second work tree
    top_level = [path for path in ROOT.iterdir() if path.is_file() and path.name != ".git"]
    folders = (*PACKAGES, "tests", "bench", "docs", "docker", "helm", ".ci")
    below = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    for path in sorted(top_level + below):
        if path.is_file() and path.suffix in TEXT_SUFFIXES and "__pycache__" not in path.parts:
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def test_every_module_says_what_it_is_responsible_for() -> None:
    silent = [
        path.relative_to(ROOT).as_posix()
        for path in python_files(*PACKAGES, "tests", "bench")
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


@pytest.mark.parametrize("package", PACKAGES)
def test_an_init_file_holds_a_docstring_and_nothing_else(package: str) -> None:
    for path in (ROOT / package).rglob("__init__.py"):
        assert len(ast.parse(path.read_text(encoding="utf-8")).body) == 1, path.relative_to(ROOT)


def test_no_file_is_longer_than_anyone_wants_to_read() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8").count("\n")
        for path in python_files(*PACKAGES, "tests", "bench")
    }
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    modules = python_files(*PACKAGES, "tests", "bench")
    assert [str(path) for path in modules if NAMES_THAT_SAY_NOTHING & {path.stem, path.parent.name}] == []


def test_tests_are_no_package() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_no_text_names_somebody_s_machine_or_a_package_registry() -> None:
    found = [
        (name, match.group())
        for name, text in texts()
        for pattern in (PERSONAL_PATH, REGISTRY)
        for match in pattern.finditer(text)
    ]
    assert found == []


@pytest.mark.parametrize(("name", "limit"), [("README.md", 200), ("AGENTS.md", 80)])
def test_a_text_for_newcomers_stays_short(name: str, limit: int) -> None:
    assert (ROOT / name).read_text(encoding="utf-8").count("\n") <= limit


def test_tests_are_found_by_the_sentence_they_check() -> None:
    """A test's name has a verb and an object: three words at the least."""
    short = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in python_files("tests")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and node.name.count("_") < 3
    ]
    assert short == []
