"""The playground as a visitor meets it: a real Chromium, real servers, and the judge that ships.

Screenshots are left in `build/screenshots`, for people to look at. Figures that depend on the machine are printed
(`pytest -s`), not asserted.
"""

from __future__ import annotations

import base64
import io
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from PIL import Image

from genrm.engines.fake import FakeEngine
from service.samples import load_shipped_samples, write_batch_line

if TYPE_CHECKING:
    from tests.service.conftest import LiveServer, Serve
    from tests.service.playground.conftest import OpenPage, Visit

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Gradio's own
]

TABS = {"judge": "Judge", "rank": "Best of N", "batch": "Batch", "audit": "Audit"}
HOSTILE = (
    '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script> ${window.hacked=1} {{constructor}} '
    "\x07\x1b[31m </textarea> &amp;"
)
COUNT_FRAMES = """(() => {
  const request = window.requestAnimationFrame.bind(window);
  window.numFrames = 0;
  window.requestAnimationFrame = (callback) => { window.numFrames += 1; return request(callback); };
})()"""


def go_to(visit: Visit, tab: str) -> None:
    visit.page.get_by_role("tab", name=TABS[tab]).click()
    visit.page.locator(f"#{tab}-run").wait_for()


def fill(visit: Visit, element: str, text: str) -> None:
    visit.page.locator(f"#{element} textarea").fill(text)


def press_judge(visit: Visit) -> None:
    visit.page.locator("#judge-run").click()


def wait_for_verdict(visit: Visit) -> str:
    visit.page.locator("#judge-verdict .vg-orders").wait_for()
    return visit.read("#judge-verdict")


def upload_image(visit: Visit, name: str, content: bytes) -> None:
    """Replace the sample that is shown by a file."""
    visit.page.locator("#judge-image").get_by_label("Remove Image").click()
    visit.page.locator("#judge-image [data-testid=upload-text]").wait_for()  # the file input is another one from now on
    file: Any = {"name": name, "mimeType": "image/png", "buffer": content}
    with visit.page.expect_response(lambda answer: "/upload?" in answer.url):
        visit.page.locator("#judge-image input[type=file]").set_input_files(file)
    visit.page.locator("#judge-image").get_by_label("Remove Image").wait_for()


def is_hacked(visit: Visit) -> bool:
    return bool(visit.page.evaluate("window.hacked !== undefined"))


def test_a_newcomer_judges_a_sample_and_sees_why(shipped_server: LiveServer, open_page: OpenPage) -> None:
    started = time.monotonic()
    visit = open_page(shipped_server)
    print(f"\npage usable after {time.monotonic() - started:.2f} s (first load)")
    visit.take_screenshot("judge-empty")
    assert "The verdict appears here" in visit.read("#judge-verdict")
    started = time.monotonic()
    press_judge(visit)
    visit.wait_for_text("#judge-critiques", "Responses")
    print(f"first critique text after {time.monotonic() - started:.2f} s")
    said = wait_for_verdict(visit)
    assert "Response A is better" in said
    assert "Both orders agree" in said
    assert "Margin P(A) − P(B)" in said
    assert "total" in said
    assert visit.page.locator("#judge-evidence .vg-box").count() == 2
    claims = visit.page.locator("#judge-evidence .vg-sides").inner_text()
    assert "bed × 2: supported" in claims
    assert "bed × 3: contradicted" in claims
    visit.page.get_by_role("button", name="The same from your own code").click()
    curl = visit.page.locator("#judge-curl textarea")
    curl.wait_for()
    assert f"curl -s {shipped_server.url}/v1/judge" in curl.input_value()
    assert "How many beds are there?" in visit.page.locator("#judge-python textarea").input_value()
    visit.take_screenshot("judge-verdict")
    assert visit.hosts - {""} == {shipped_server.url.removeprefix("http://")}
    started = time.monotonic()
    visit.page.reload()
    visit.page.locator("#judge-run").wait_for()
    print(f"page usable after {time.monotonic() - started:.2f} s (again)")
    assert visit.errors == []


def test_another_sample_brings_its_question_and_responses(fake_server: LiveServer, open_page: OpenPage) -> None:
    visit = open_page(fake_server)
    visit.page.locator("#judge-samples button").nth(2).click()
    sample = load_shipped_samples()[2]
    visit.page.wait_for_function(
        "text => document.querySelector('#judge-question textarea').value === text", arg=sample.question
    )
    assert visit.page.locator("#judge-b textarea").input_value() == sample.response_b
    press_judge(visit)
    wait_for_verdict(visit)


def test_the_keyboard_alone_is_enough(fake_server: LiveServer, open_page: OpenPage) -> None:
    visit = open_page(fake_server)
    visit.page.locator("#judge-b textarea").focus()
    visit.page.keyboard.press("Tab")
    assert visit.page.evaluate("document.activeElement.id") == "judge-run"
    visit.page.keyboard.press("Enter")
    wait_for_verdict(visit)


def test_what_is_not_entered_is_named(fake_server: LiveServer, open_page: OpenPage) -> None:
    visit = open_page(fake_server)
    fill(visit, "judge-question", "")
    fill(visit, "judge-b", "  ")
    press_judge(visit)
    visit.wait_for_text("#judge-verdict", "a question, response B")
    visit.take_screenshot("judge-nothing-entered")


def test_a_pdf_named_png_gets_the_api_s_message(fake_server: LiveServer, open_page: OpenPage) -> None:
    visit = open_page(fake_server)
    upload_image(visit, "scan.png", b"%PDF-1.7\n1 0 obj << >> endobj\n" + b"x" * 200)
    press_judge(visit)
    visit.wait_for_text("#judge-verdict", "judged by its content")
    assert "no PNG, JPEG, WebP or GIF" in visit.read("#judge-verdict")
    image = visit.page.locator("#judge-image img")
    assert image.evaluate("image => image.complete && image.naturalWidth > 0")  # else it is the browser's broken sign
    assert (image.get_attribute("src") or "").startswith("data:image/svg+xml")
    assert image.get_attribute("alt") == "A file that this browser cannot show as a picture"
    visit.take_screenshot("judge-bad-file")
    visit.page.locator("#judge-samples button").nth(1).click()
    visit.page.wait_for_function(
        "document.querySelector('#judge-image img').src.endsWith('.png')"
        " && document.querySelector('#judge-image img').alt === 'The image to judge about'"
    )
    press_judge(visit)
    wait_for_verdict(visit)


def test_a_picture_over_the_limit_gets_the_api_s_message(fake_server: LiveServer, open_page: OpenPage) -> None:
    visit = open_page(fake_server)
    file = io.BytesIO()
    Image.new("1", (8000, 5200)).save(file, "PNG")
    upload_image(visit, "huge.png", file.getvalue())
    press_judge(visit)
    visit.wait_for_text("#judge-verdict", "GENRM_MAX_IMAGE_PIXELS")
    visit.take_screenshot("judge-over-limit")


def test_hostile_text_is_shown_and_never_run(fake_server: LiveServer, open_page: OpenPage) -> None:
    visit = open_page(fake_server)
    upload_image(visit, '<img src=x onerror="window.hacked=1">.png', load_shipped_samples()[0].image.read_bytes())
    for element in ("judge-question", "judge-a", "judge-b"):
        fill(visit, element, f"{element} {HOSTILE}")
    press_judge(visit)
    wait_for_verdict(visit)
    shown = visit.page.locator("#judge-evidence .vg-sides").inner_text()
    assert '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script> ${window.hacked=1}' in shown
    assert "␇␛[31m" in shown
    visit.take_screenshot("judge-hostile")
    go_to(visit, "rank")
    fill(visit, "rank-candidates", f"{HOSTILE} one\n{HOSTILE} two")
    visit.page.locator("#rank-run").click()
    visit.page.locator("#rank-matrix .vg-matrix").wait_for()
    assert "<script>window.hacked=1</script>" in visit.read("#rank-result")
    assert not is_hacked(visit)


def test_a_tie_and_an_abstention_are_told_apart(
    fake_server: LiveServer, fake_engine: FakeEngine, open_page: OpenPage
) -> None:
    visit = open_page(fake_server)
    fake_engine.verdict = "first"
    try:
        press_judge(visit)
        said = wait_for_verdict(visit)
        assert "A tie." in said
        assert "The orders disagree" in said
        visit.take_screenshot("judge-tie")
        fake_engine.verdict = "none"
        press_judge(visit)
        visit.wait_for_text("#judge-verdict", "No verdict.")
        assert "abstains" in visit.read("#judge-verdict")
        visit.take_screenshot("judge-abstained")
    finally:
        fake_engine.verdict = "content"


def test_a_busy_service_is_asked_again_when_it_says(fake_server: LiveServer, open_page: OpenPage) -> None:
    visit = open_page(fake_server)
    admission = fake_server.app.state.admission
    usual = admission._max_queue
    admission._max_queue = 0
    try:
        press_judge(visit)
        visit.wait_for_text("#judge-verdict", "The service is busy.")
        assert "Trying again in" in visit.read("#judge-verdict")
        visit.take_screenshot("judge-busy")
    finally:
        admission._max_queue = usual
    wait_for_verdict(visit)


def test_candidates_are_ranked_with_matrix_and_costs(shipped_server: LiveServer, open_page: OpenPage) -> None:
    visit = open_page(shipped_server)
    go_to(visit, "rank")
    visit.page.locator("#rank-run").click()
    visit.wait_for_text("#rank-result", "Best: I count two beds.")
    assert visit.page.locator(".vg-matrix tbody tr").count() == 4
    assert "knockout" in visit.read("#rank-matrix")
    assert "all_pairs (used)" in visit.read("#rank-matrix")
    visit.take_screenshot("rank")
    fill(visit, "rank-candidates", '["I count two beds.", "I count\\nno beds."]')
    visit.page.locator("#rank-run").click()
    visit.page.wait_for_function("document.querySelectorAll('.vg-matrix tbody tr').length === 2")


def test_a_batch_is_watched_to_its_end_and_downloaded(
    shipped_server: LiveServer, open_page: OpenPage, tmp_path: Path
) -> None:
    visit = open_page(shipped_server)
    go_to(visit, "batch")
    visit.page.locator("#batch-run").click()
    visit.wait_for_text("#batch-progress", "No file is chosen.")
    lines = [write_batch_line(sample) for sample in load_shipped_samples()]
    wrong = json.loads(lines[0])
    wrong["custom_id"] = "wrong <b>picture</b>"
    wrong["body"]["image"]["url"] = "data:image/png;base64," + base64.b64encode(b"%PDF-1.7").decode()
    file = tmp_path / "rows <script>window.hacked=1<script>.jsonl"
    file.write_text("".join([*lines, json.dumps(wrong), "\n", "this is not JSON\n"]), "utf-8")
    with visit.page.expect_response(lambda answer: "/upload?" in answer.url):
        visit.page.locator("#batch-file input[type=file]").set_input_files(file)
    visit.page.locator("#batch-file .file-preview").wait_for()
    visit.page.locator("#batch-run").click()
    visit.page.locator("#batch-progress [role=progressbar]").wait_for()
    visit.wait_for_text("#batch-progress", "completed: 14 of 14 rows · 2 failed")
    assert "wrong <b>picture</b>" in visit.read("#batch-problems")
    assert not is_hacked(visit)
    visit.page.locator("#batch-results").wait_for()
    visit.take_screenshot("batch")
    names = visit.read("#batch-results")
    assert "results" in names
    assert "errors" in names
    with visit.page.expect_download() as download:
        visit.page.locator("#batch-results a[href*=preferences]").first.click()
    rows = [json.loads(line) for line in Path(download.value.path()).read_text("utf-8").splitlines()]
    assert rows
    assert {"images", "prompt", "chosen", "rejected"} <= set(rows[0])


def test_an_audit_of_the_shipped_rows_shows_four_plots(shipped_server: LiveServer, open_page: OpenPage) -> None:
    visit = open_page(shipped_server)
    go_to(visit, "audit")
    visit.page.locator("#audit-run").click()
    visit.page.locator("#audit-findings img.vg-plot").nth(3).wait_for()
    assert "12 rows" in visit.read("#audit-findings")
    words = visit.page.locator("#audit-findings img.vg-plot").nth(3).get_attribute("alt")
    assert words is not None
    assert "right" in words
    visit.take_screenshot("audit")


def test_a_page_whose_server_restarts_says_so(serve: Serve, open_page: OpenPage) -> None:
    with serve(playground="on") as server:
        visit = open_page(server)
        fill(visit, "judge-question", "What was here?")
        visit.page.wait_for_timeout(500)  # until it knows which server it came from
        started = time.monotonic()
    print(f"\nstopped with an open page in {time.monotonic() - started:.1f} s")
    visit.wait_for_text("#vg-gone", "does not answer")
    visit.take_screenshot("server-gone")
    with serve(playground="on", port=int(server.url.rpartition(":")[2])):
        visit.wait_for_text("#vg-gone", "was restarted")
        assert visit.page.locator("#judge-question textarea").input_value() == "What was here?"
        visit.page.get_by_role("button", name="Load the page again").click()
        visit.page.locator("#judge-run").wait_for()
        press_judge(visit)
        wait_for_verdict(visit)


@pytest.mark.parametrize(("name", "width"), [("wide", 1280), ("zoom-200", 640), ("phone", 360)])
def test_the_banner_hides_nothing(fake_server: LiveServer, open_page: OpenPage, name: str, width: int) -> None:
    visit = open_page(fake_server, viewport={"width": width, "height": 720})
    page = visit.page
    page.route("**/playground/alive", lambda route: route.abort())
    visit.wait_for_text("#vg-gone", "does not answer")
    visit.take_screenshot(f"banner-{name}")
    banner, heading = page.locator("#vg-gone").bounding_box(), page.locator(".vg-head h1").bounding_box()
    assert banner is not None
    assert heading is not None
    assert banner["y"] == 0
    assert banner["y"] + banner["height"] <= heading["y"]
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    page.locator("#judge-question textarea").focus()  # comes into sight, and not under the banner
    stuck, focused = page.locator("#vg-gone").bounding_box(), page.locator("#judge-question textarea").bounding_box()
    assert stuck is not None
    assert focused is not None
    assert stuck["y"] == 0
    assert focused["y"] >= stuck["height"]
    page.unroute("**/playground/alive")
    page.locator("#vg-gone").wait_for(state="detached")
    assert page.evaluate("document.documentElement.style.scrollPaddingTop") == ""


def test_many_pages_of_one_browser_work_side_by_side(fake_server: LiveServer, open_page: OpenPage) -> None:
    visit = open_page(fake_server)
    pages = [visit.page, *(visit.page.context.new_page() for _ in range(7))]  # a browser has six connections for all
    asked: list[str] = []
    for page in pages[1:]:
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{fake_server.url}/playground/")
        page.locator("#judge-run").wait_for()
    pages[-1].locator("#judge-run").click()
    pages[-1].locator("#judge-verdict .vg-orders").wait_for()
    assert not [url for url in asked if "heartbeat" in url]
    assert visit.errors == []


def test_a_page_that_is_loaded_again_fetches_no_script_again(fake_server: LiveServer, open_page: OpenPage) -> None:
    visit = open_page(fake_server)
    look = """() => performance.getEntriesByType("resource").filter(each => each.name.includes("/assets/"))
        .map(each => each.transferSize)"""
    visit.page.wait_for_load_state("networkidle")
    assert sum(visit.page.evaluate(look)) > 100_000
    visit.page.reload()
    visit.page.locator("#judge-run").wait_for()
    visit.page.wait_for_load_state("networkidle")
    sizes = visit.page.evaluate(look)
    assert len(sizes) > 20
    assert sum(sizes) == 0


def count_judged(server: LiveServer) -> int:
    """Judgements that were answered."""
    series = httpx.get(f"{server.url}/metrics").text.splitlines()
    name = 'genrm_request_duration_seconds_count{route="/v1/judge"'
    lines = [line for line in series if line.startswith(name)]
    return sum(int(float(line.rpartition(" ")[2])) for line in lines)


def test_a_page_that_is_left_alone_draws_nothing(shipped_server: LiveServer, open_page: OpenPage) -> None:
    """Gradio alone asks for sixty frames a second for ever, and twenty such pages take half a core."""
    visit = open_page(shipped_server)
    visit.page.add_init_script(COUNT_FRAMES)
    visit.page.reload()
    visit.page.locator("#judge-run").wait_for()
    for _ in range(2):
        visit.page.wait_for_timeout(4_000)  # something may move when the page or a verdict has just come
        before = visit.page.evaluate("window.numFrames")
        visit.page.wait_for_timeout(2_000)
        assert visit.page.evaluate("window.numFrames") - before <= 2
        press_judge(visit)
        wait_for_verdict(visit)
    assert visit.page.evaluate("window.numFrames") > 0


def test_a_page_that_is_closed_ends_what_it_asked_for(serve: Serve, open_page: OpenPage) -> None:
    with serve(FakeEngine(delay_seconds=1), playground="on") as server:
        visit = open_page(server)
        go_to(visit, "audit")
        visit.page.locator("#audit-run").click()
        visit.wait_for_text("#audit-progress", "of 12 rows")
        visit.page.close()
        time.sleep(3)  # those that ran end
        num_judged = count_judged(server)
        time.sleep(3)
        assert 0 < num_judged < 12
        assert count_judged(server) == num_judged


def test_a_file_over_its_limit_is_told_where_it_is_chosen(serve: Serve, open_page: OpenPage) -> None:
    with serve(playground="on", max_file_bytes=2**19) as server:
        visit = open_page(server)
        go_to(visit, "batch")
        file: Any = {"name": "large.jsonl", "mimeType": "text/plain", "buffer": b"x" * 2**20}
        visit.page.locator("#batch-file input[type=file]").set_input_files(file)
        visit.wait_for_text("body", 'exceed the maximum allowed size of 512.0 Kb: "large.jsonl"')
        visit.take_screenshot("batch-file-too-large")


def test_a_full_playground_says_so_where_a_file_is_chosen(serve: Serve, open_page: OpenPage) -> None:
    with serve(playground="on", playground_max_bytes=2**20, max_file_bytes=2**19) as server:
        visit = open_page(server)
        go_to(visit, "batch")
        statuses = []
        for number in range(3):
            file: Any = {"name": f"{number}.jsonl", "mimeType": "text/plain", "buffer": str(number).encode() * 400_000}
            with visit.page.expect_response(lambda answer: "/upload?" in answer.url) as caught:
                visit.page.locator("#batch-file input[type=file]").set_input_files(file)
            statuses.append(caught.value.status)
            if number < 2:
                visit.page.locator("#batch-file .file-preview").wait_for()
                visit.page.locator("#batch-file").get_by_label("Clear").click()
                visit.page.locator("#batch-file [data-testid=upload-text], #batch-file button").first.wait_for()
        assert statuses == [200, 200, 503]
        visit.wait_for_text("body", "the playground holds 800,000 of 1,048,576 allowed.")
        visit.take_screenshot("batch-no-room")
        assert '"error"' not in visit.read("body")


def test_where_keys_are_wanted_nothing_is_to_be_had_without_one(serve: Serve, open_page: OpenPage) -> None:
    with serve(playground="on", api_keys="alice:sesame;open-of-alice-1,bob:other-key-of-bob-1") as server:
        visit = open_page(server, wait=False)
        visit.page.get_by_label("API key").fill("wrong")
        visit.page.get_by_role("button", name="Open the playground").click()
        visit.page.get_by_role("alert").wait_for()
        visit.take_screenshot("sign-in")
        visit.page.get_by_label("API key").fill("sesame;open-of-alice-1")
        visit.page.get_by_role("button", name="Open the playground").click()
        visit.page.locator("#judge-run").wait_for()
        press_judge(visit)
        wait_for_verdict(visit)
        cookie = visit.page.context.cookies()[0]
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"
        page = f"{server.url}/playground"
        for path in ("config", "assets/x.js", "gradio_api/app_id"):
            assert httpx.get(f"{page}/{path}").status_code == 401
        assert httpx.post(f"{page}/gradio_api/upload", files={"files": b"x"}).status_code == 401
        assert httpx.post(f"{page}/gradio_api/queue/join", json={}).status_code == 401
        visit.page.get_by_role("link", name="Forget my key").click()
        visit.page.get_by_label("API key").wait_for()


def test_files_of_the_machine_are_not_to_be_had_through_the_page(
    fake_server: LiveServer, open_page: OpenPage, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("nobody may read this")
    visit = open_page(fake_server)
    config = visit.page.evaluate("fetch('config').then(answer => answer.json())")
    numbers = [each["id"] for each in config["dependencies"] if each["inputs"]]
    page = f"{fake_server.url}/playground/gradio_api"
    file = {"path": str(secret), "meta": {"_type": "gradio.FileData"}}
    for number in numbers:
        call = {"data": [file, 100], "fn_index": number, "session_hash": "x"}
        assert httpx.post(f"{page}/queue/join", json=call).status_code == 422
    for name in (str(secret), "https://example.com/x.png", f"/etc/../{secret}"):
        answer = httpx.get(f"{page}/file={name}")
        assert answer.status_code in (403, 404)
        assert "nobody may read" not in answer.text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_hinders_people_with_disabilities(shipped_server: LiveServer, open_page: OpenPage, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    visit = open_page(shipped_server, color_scheme=scheme)
    press_judge(visit)
    wait_for_verdict(visit)
    found: dict[tuple[str, str], str] = {}
    for tab in TABS:
        go_to(visit, tab)
        visit.page.wait_for_timeout(400)  # tabs fade in, and half-faded text has little contrast
        visit.take_screenshot(f"{scheme}-{tab}")
        for finding in axe.run(visit.page).response["violations"]:
            if finding["impact"] in ("serious", "critical"):
                found |= {(finding["id"], node["html"][:160]): finding["help"] for node in finding["nodes"]}
    assert found == {}


@pytest.mark.parametrize(("name", "width"), [("zoom-200", 640), ("phone", 360)])
def test_little_room_makes_one_column_without_sideways_scrolling(
    shipped_server: LiveServer, open_page: OpenPage, name: str, width: int
) -> None:
    visit = open_page(shipped_server, viewport={"width": width, "height": 720})
    press_judge(visit)
    wait_for_verdict(visit)
    for tab in TABS:
        go_to(visit, tab)
        assert visit.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
        visit.take_screenshot(f"{name}-{tab}")
