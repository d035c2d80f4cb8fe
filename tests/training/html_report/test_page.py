"""The page itself: hostile text is shown and never acts, pictures may miss, and no page costs a run its figures."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genrm.types import EvidencePair, Probabilities, Reading
from training.evaluation.report import Report
from training.html_report.cases import Case, Group, Listing, Said, allot
from training.html_report.evaluated import leave_report_page, make_report_page
from training.html_report.page import MAX_TEXT_CHARS, leave_page, render_page
from training.html_report.pictures import MAX_BYTES, Album, encode_thumbnail
from training.html_report.visible import make_visible
from training.sources import RowError, Skipped
from training.statistics import share_with_interval

ReadPage = Callable[[Path], Any]
HOSTILE = (
    '</p></style><script>window.hacked=1</script><img src="http://evil.example/x.png" onerror=hacked() '
    "style='x'>\" onload=\"hacked() &lt;b&gt; {{ 7*7 }} {% raw %} \x00\x1b[31m\u202egnp.exe\ud800"
)


def make_case(name: str = "row", **changes: Any) -> Case:
    fields: dict[str, Any] = {
        "id": name,
        "outcome": "Prefers B, but A is labelled better",
        "question": "What is this?",
        "said": (Said(name="Response A", text="a dog", marks=("labelled better",)), Said(name="Response B", text="?")),
        "load_images": lambda: (Image.new("RGB", (40, 30), "teal"),),
        "probabilities": Probabilities(A=0.25, B=0.75),
    }
    return Case(**fields | changes)


def make_hostile_case() -> Case:
    reading = Reading(
        first="A", critique=HOSTILE, probabilities=None, label_mass=0.5, finish_reason="length", completion_tokens=1
    )
    claim = {
        "phrase": HOSTILE, "mention": HOSTILE, "polarity": "denied", "count": 2, "finding": "contradicted",
        "probability": 0.5,
    }  # fmt: skip
    return make_case(
        HOSTILE,
        outcome=HOSTILE,
        question=HOSTILE,
        said=(Said(name=HOSTILE, text=HOSTILE, marks=(HOSTILE,)),),
        facts={HOSTILE: HOSTILE},
        readings=(reading, reading),
        evidence=EvidencePair.model_validate({"A": [claim]}),
        notes=(HOSTILE,),
        names=(HOSTILE, HOSTILE),
        listing=Listing(caption=HOSTILE, heads=(HOSTILE,), rows=((HOSTILE,),)),
    )


def write_page(folder: Path, *cases: Case, **changes: Any) -> None:
    fields: dict[str, Any] = {
        "title": "Test",
        "settings": {"source": "rows"},
        "sections": {"accuracy": {"overall": share_with_interval(3, 4)}},
    }
    report = Report(**fields | changes)
    group = Group(title="Wrong", tone="bad", num=len(cases), cases=cases)
    assert leave_report_page(report, folder, lambda: [group] if cases else [])


def test_hostile_text_is_shown_everywhere_and_acts_nowhere(tmp_path: Path, read_page: ReadPage) -> None:
    estimates = {HOSTILE: share_with_interval(1, 2)}
    write_page(
        tmp_path,
        make_hostile_case(),
        title=HOSTILE,
        settings={HOSTILE: HOSTILE, "source": HOSTILE, "judge": {"model": HOSTILE}},
        sections={HOSTILE: estimates},
        counts={HOSTILE: 1},
        skipped=[Skipped(id=HOSTILE, reason=HOSTILE)],
    )
    page = read_page(tmp_path)
    shown = '<script>window.hacked=1</script><img src="http://evil.example/x.png" onerror=hacked()'
    assert page.text.count(shown) >= 20
    assert "{{ 7*7 }} {% raw %} ␀␛[31m⟨U+202E⟩gnp.exe⟨U+D800⟩" in page.text
    assert page.find("script") == []
    assert {str(each["src"])[:11] for each in page.find("img")} == {"data:image/"}


def test_characters_that_act_or_hide_become_visible() -> None:
    assert make_visible("a\r\nb\tc") == "a\nb\tc"
    assert make_visible("\x07\x7f\r\u200b\u2066\U000e0041") == "␇␡␍⟨U+200B⟩⟨U+2066⟩⟨U+E0041⟩"
    assert make_visible("Größe 🐕‍🦺 שלום") == "Größe 🐕‍🦺 שלום"


def test_the_policy_allows_data_and_the_page_s_own_style_alone(tmp_path: Path, read_page: ReadPage) -> None:
    write_page(tmp_path, make_case())
    (policy,) = read_page(tmp_path).find("meta", **{"http-equiv": "Content-Security-Policy"})
    style = re.search("<style>(.*?)</style>", (tmp_path / "report.html").read_text(encoding="utf-8"), re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy["content"] == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def test_what_was_run_is_told_without_passwords_in_urls(tmp_path: Path, read_page: ReadPage) -> None:
    environment = {
        "started": "2026-01-02T03:04:05+00:00", "commit": "0123456789abcdef", "dirty": True, "vl-genrm": "1.2",
        "command": ["vl-genrm", "--url", "http://alice:secret@judge:8000"],
    }  # fmt: skip
    settings = {"source": "rows.jsonl", "judge": {"model": "/models/x/judge"}, "seed": 7, "environment": environment}
    write_page(tmp_path, make_case(), settings=settings)
    text = read_page(tmp_path).text
    assert "rows.jsonl · judge “x/judge” · 2026-01-02" in text
    assert "vl-genrm 1.2, commit 0123456789ab with changed files" in text
    assert "Seed 7" in text
    assert "http://…@judge:8000" in text
    assert "secret" not in text


def test_figures_stand_with_their_intervals_and_a_dash_for_what_is_no_number(
    tmp_path: Path, read_page: ReadPage
) -> None:
    sections = {"accuracy": {"overall": share_with_interval(3, 4), "rare": share_with_interval(0, 0)},
                "differences": {"b - a": {"value": -0.1, "low": -0.2, "high": 0.05, "num": 1250}}}  # fmt: skip
    write_page(tmp_path, sections=sections)
    page = read_page(tmp_path)
    assert "overall 0.750 0.301 to 0.954 4" in page.text
    assert "rare – 0.000 to 1.000 0" in page.text
    assert "b - a −0.100 −0.200 to 0.050 1,250" in page.text
    assert all(each.get("scope") in ("row", "col") for each in page.find("th"))
    assert len(page.find("caption")) == len(page.find("table"))


@pytest.mark.parametrize("error", [RowError("its image 'x.png' cannot be read."), ValueError("odd"), MemoryError()])
def test_a_picture_that_cannot_be_opened_is_said_and_the_page_goes_on(
    tmp_path: Path, read_page: ReadPage, error: BaseException
) -> None:
    def fail() -> tuple[Image.Image, ...]:
        raise error

    write_page(tmp_path, make_case("first", load_images=fail), make_case("second"))
    page = read_page(tmp_path)
    assert "The picture cannot be shown" in page.text
    assert len(page.find("article")) == 2
    assert len(page.find("img")) == 1


def test_a_page_stays_small_whatever_is_in_it(tmp_path: Path, read_page: ReadPage) -> None:
    noise = np.random.default_rng(0).integers(256, size=(700, 700, 3), dtype=np.uint8)
    pictures = (Image.fromarray(noise),) * 9
    said = (Said(name="Response A", text="x" * 2_000_000),) * 2
    write_page(tmp_path, *(make_case(str(i), load_images=lambda: pictures, said=said) for i in range(20)))
    assert (tmp_path / "report.html").stat().st_size < 5_000_000
    text = read_page(tmp_path).text
    assert "5 of 9 pictures are left out to keep this file small." in text
    assert f"({2_000_000 - MAX_TEXT_CHARS:,} more characters)" in text


def test_thumbnails_are_at_most_320_pixels_and_the_smaller_kind_of_file() -> None:
    for image, kind in ((Image.new("RGB", (1000, 10), "red"), "png"), (Image.effect_noise((640, 480), 90), "jpeg")):
        data, found, size = encode_thumbnail(image)
        assert found == kind
        assert max(size) == 320
        assert Image.open(io.BytesIO(data)).size == size
    assert Album(max_bytes=10).add_row(lambda: [Image.new("RGB", (9, 9))])[0] == []
    assert MAX_BYTES * 4 / 3 < 5_000_000


def test_plots_that_are_there_are_embedded_and_others_are_not_looked_for(tmp_path: Path, read_page: ReadPage) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "reliability.png")
    Image.new("RGB", (30, 20)).save(tmp_path / "holiday.png")
    (tmp_path / "accuracy.png").write_bytes(b"no picture")
    write_page(tmp_path)
    assert [each["width"] for each in read_page(tmp_path).find("img")] == ["30"]


def test_a_page_that_cannot_be_made_is_a_line_in_the_log_and_no_old_page_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_page(tmp_path, make_case())

    def fail() -> Any:
        raise RuntimeError("It broke.")

    assert leave_page(tmp_path, fail) is None
    assert "could not be made (RuntimeError: It broke.); all figures are in the other files" in caplog.text
    assert not (tmp_path / "report.html").exists()


def test_an_empty_report_is_a_page_too(tmp_path: Path) -> None:
    page = make_report_page(Report(title="Nothing", settings={}), [])
    assert "<h1>Nothing</h1>" in render_page(page, tmp_path)


@pytest.mark.parametrize(
    ("sizes", "given"),
    [([100, 100, 100], [12, 4, 4]), ([2, 0, 58], [2, 0, 18]), ([30, 1, 2], [17, 1, 2]), ([1, 1, 1], [1, 1, 1])],
)
def test_places_that_a_group_cannot_fill_go_to_the_others(sizes: list[int], given: list[int]) -> None:
    assert allot(sizes, (12, 4, 4)) == given
