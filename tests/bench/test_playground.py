"""What `bench/playground.py` makes of what it saw; and, where there is a Chromium, one short run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("psutil", reason="psutil is not installed")

from bench import browser, playground
from bench.load_loops import Exchange, Load
from bench.playground import Estimate, Turn
from genrm.shipped import judge_folder


def make_exchange(due: float, latency_ms: float, status: int = 200) -> Exchange:
    return Exchange(
        kind="critique", request_id="x", due=due, sent=due, ended=due + latency_ms / 1000, status=status,
        failure=None, code=None if status == 200 else "overloaded", has_retry_after=False,
    )  # fmt: skip


def make_turn(num_tabs: int, latencies_ms: list[float], cores: float = 0.5) -> Turn:
    """A turn of 100 s whose requests come one a second, with latencies that repeat."""
    exchanges = [make_exchange(second, latencies_ms[second % len(latencies_ms)]) for second in range(100)]
    return Turn(
        num_tabs=num_tabs,
        load=Load(exchanges=exchanges, seconds=100),
        service_cpu_share=cores,
        browser_cpu_share=0.0 if num_tabs == 0 else 0.2,
    )


def test_a_median_lies_between_the_lowest_and_the_highest() -> None:
    found = playground.estimate_median([3.0, 1.0, 2.0, 9.0, 2.5])
    assert found == Estimate(value=2.5, low=1.0, high=9.0, num_values=5)


def test_pages_that_cost_nothing_give_a_ratio_of_one_without_doubt() -> None:
    latencies = [float(value) for value in range(100, 200, 7)]
    turns = [make_turn(tabs, latencies) for tabs in (0, 20, 0, 20)]
    for percent in (50, 99):
        found = playground.compare_latency(*playground.split_turns(turns), percent)
        assert found is not None
        assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)  # the same stretches of both are drawn


def test_pages_that_make_everything_slower_show_by_how_much() -> None:
    latencies = [float(value) for value in range(100, 200, 7)]
    slower = [1.3 * value for value in latencies]
    turns = [make_turn(0, latencies), make_turn(20, slower), make_turn(0, latencies), make_turn(20, slower)]
    found = playground.compare_latency(*playground.split_turns(turns), 99)
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((1.3, 1.3, 1.3))


def test_a_ratio_of_few_slow_answers_is_uncertain() -> None:
    usual, rare = [100.0] * 100, [100.0] * 97 + [100.0, 400.0, 400.0]
    found = playground.compare_latency([make_turn(0, usual)], [make_turn(20, rare)], 99)
    assert found is not None
    assert found.low == pytest.approx(1.0)  # the stretch with the slow ones is not always drawn
    assert found.high == pytest.approx(4.0)


def test_answers_belong_to_the_stretch_in_which_they_were_due() -> None:
    load = Load(
        exchanges=[make_exchange(9.9, 500), make_exchange(10.0, 1), make_exchange(25.5, 1), make_exchange(1, 1, 503)],
        seconds=25,
    )
    assert [[each.due for each in stretch] for stretch in playground._cut(load)] == [[9.9], [10.0, 25.5]]


def test_latency_is_that_of_all_turns_and_of_good_answers_alone() -> None:
    turns = [make_turn(0, [100.0]), make_turn(0, [300.0])]
    turns[0].load.exchanges.append(make_exchange(3, 9999, 503))
    found = playground.estimate_latency(turns, 50)
    assert found is not None
    assert found.value == pytest.approx(200)
    assert found.num_values == 200
    assert found.low <= found.value <= found.high
    assert playground.estimate_latency([], 50) is None


def test_the_slowest_load_and_text_and_the_ratio_have_limits() -> None:
    turns = [make_turn(0, [100.0]), make_turn(20, [111.0])]
    estimates = playground.list_estimates([1.0, 3.1], [0.5, 0.5], [0.2, 0.9], turns)
    figures = {figure.name: figure for figure in playground.judge_playground(estimates, turns)}
    assert not figures["page usable, first load, slowest (s)"].is_met
    assert figures["click to first critique text, slowest (s)"].is_met
    assert not figures["p99 with pages against without (times)"].is_met
    assert figures["requests without a good answer"].value == 0
    assert estimates["Chromium: cores with pages"].value == 0.2
    assert estimates["service: cores without pages"].value == 0.5


def test_a_meter_counts_the_processes_that_were_chosen() -> None:
    import subprocess
    import sys

    work = "import time\nwhile time.process_time() < 0.5: pass\nprint(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        meter = browser.CpuMeter(lambda each: each.pid == process.pid)
        others = browser.CpuMeter(browser.is_browser)
        assert process.stdout is not None
        process.stdout.readline()
        assert 0.1 < meter.read() < 3
        assert others.read() == 0
        process.communicate(b"\n")
    assert meter.read() == 0


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.skipif(
    not (judge_folder() / "config.json").is_file(),
    reason="the shipped judge is not built; 'vl-genrm pocket build' makes it",
)
def test_a_short_run_measures_everything(tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="the extra 'ui' is not installed")
    if not any(map(shutil.which, browser._NAMES)):
        pytest.skip("no Chromium on this machine")
    out = tmp_path / "report.json"
    short = ["--times", "1", "--minutes", "0.1", "--rounds", "1", "--tabs", "2", "--settle", "1", "--rate", "1"]
    playground.main([*short, "--out", str(out)])
    report = json.loads(out.read_text("utf-8"))
    estimates = report["estimates"]
    assert {"page usable, first load (s)", "page usable, again (s)", "click to first critique text (s)"} <= set(
        estimates
    )
    assert estimates["p99 with against without (times)"]["value"] > 0
    assert [turn["num_tabs"] for turn in report["turns"]] == [0, 2]
    assert report["turns"][0]["num_requests"] == report["turns"][1]["num_requests"]
    assert report["turns"][0]["browser_cpu_share"] == 0
    assert estimates["service: cores with pages"]["value"] > 0
