"""What the distribution contains, and that its generic package names belong to it alone."""

import importlib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[1]
PACKAGES = ("genrm", "experts", "service", "training", "pocket")


@pytest.fixture(scope="module")
def wheel_files() -> set[str]:
    return {Path(file.distribution_path).as_posix() for file in WheelBuilder(str(ROOT)).recurse_included_files()}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_distribution_has_a_package_of_our_name(package: str) -> None:
    # An editable installation lists no packages at all, hence the default.
    assert packages_distributions().get(package, ["vl-genrm"]) == ["vl-genrm"]


@pytest.mark.parametrize("package", PACKAGES)
def test_the_tested_package_is_the_one_of_this_checkout(package: str) -> None:
    assert importlib.import_module(package).__file__ == str(ROOT / package / "__init__.py")


def test_the_wheel_holds_every_file_of_the_packages(wheel_files: set[str]) -> None:
    ours = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert ours - wheel_files == set()


def test_the_wheel_holds_nothing_but_the_packages(wheel_files: set[str]) -> None:
    assert {Path(file).parts[0] for file in wheel_files} <= set(PACKAGES)


def test_the_source_distribution_can_be_tested() -> None:
    # Leaves out pyproject.toml, which hatchling always adds by itself.
    files = {Path(file.distribution_path).as_posix() for file in SdistBuilder(str(ROOT)).recurse_included_files()}
    assert files >= {
        "Makefile",
        "constraints.txt",
        "LICENSE",
        "README.md",
        "tests/test_packaging.py",
        "helm/vl-genrm/Chart.yaml",
    }
