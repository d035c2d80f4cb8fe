"""Pairs with drawn pictures, for jobs that need no model."""

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from training.sources import Pair

MakePairs = Callable[[int], list[Pair]]


@pytest.fixture
def make_pairs() -> MakePairs:
    """Pairs p0, p1, … with pictures of different colours; the better response is A and B in turns."""

    def make(num: int) -> list[Pair]:
        return [
            Pair(
                id=f"p{i}",
                question=f"What is number {i}?",
                response_a=f"a dog {i}",
                response_b=f"a cat {i}",
                label="A" if i % 2 == 0 else "B",
                group=("general", "reasoning")[i % 2],
                load_images=lambda i=i: (Image.new("RGB", (56, 56), (i % 256, 0, 0)),),  # type: ignore[misc]
            )
            for i in range(num)
        ]

    return make


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    """JSON lines of 40 labelled pairs with a picture and sightings each."""
    import json

    folder = tmp_path / "rows"
    folder.mkdir()
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for i in range(40):
            Image.new("RGB", (56, 56), (i, 0, 0)).save(folder / f"{i}.png")
            found = [{"phrase": "dog", "places": ["upper left"]}]
            row = {
                "id": f"p{i}", "image": f"{i}.png", "question": f"What is number {i}?",
                "reference": f"There are {i} dogs.",
                "chosen": f"There are {i} dogs.", "rejected": f"There are {i + 1} dogs.", "group": ("x", "y")[i % 2],
                "sightings": json.dumps(found),
            }  # fmt: skip
            file.write(json.dumps(row) + "\n")
    return folder / "rows.jsonl"


class ReadPage(HTMLParser):
    """A page of a run as a browser would read it: what it refers to, what its elements are, and its text."""

    VOID = frozenset({"meta", "link", "img", "rect", "br", "hr", "input"})

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self._open == [], "all elements are closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element; one that is closed on the spot stands for nothing else."""
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Elements close in the order in which they are nested."""
        if tag not in self.VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note what a reader sees; the style sheet is not that."""
        if "style" not in self._open:
            self.texts.append(data)

    @property
    def text(self) -> str:
        """All text in order, with single spaces."""
        return " ".join(" ".join(self.texts).split())

    def find(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        """Attributes of the elements of a name that have these, too."""
        return [each for name, each in self.elements if name == tag and attributes.items() <= each.items()]

    def list_outcomes(self) -> list[str]:
        """By example, in order, the kind of it: bad, open, good."""
        return [str(each["class"]).removeprefix("case ") for each in self.find("article")]

    def list_strangers(self) -> list[str]:
        """What could fetch or run something: any reference but to data and within the page, and any script."""
        found = [tag for tag, _ in self.elements if tag in ("script", "iframe", "object", "embed", "form", "base")]
        for tag, attributes in self.elements:
            for name, value in attributes.items():
                is_reference = name in ("src", "href", "srcset", "xlink:href", "action", "poster", "data")
                if (is_reference and not str(value).startswith(("data:", "#"))) or name.startswith("on"):
                    found.append(f"{tag} {name}={value}")
                if name == "style":
                    found.append(f"{tag} style={value}")
        return found


@pytest.fixture
def read_page() -> Callable[[Path], ReadPage]:
    """Reads `report.html` of a folder, and sees that it refers to nothing outside of itself."""

    def read(folder: Path) -> ReadPage:
        page = ReadPage(folder / "report.html")
        assert page.list_strangers() == []
        return page

    return read
