"""The HTTP benchmark: its arithmetic, and one short run against a real service in this process."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from genrm.engines.fake import FakeEngine
from service.app import create_app
from service.server import JudgeServer, format_url, open_port
from service.settings import load_settings

if TYPE_CHECKING:
    from bench.serving import Outcome

SCRIPT = Path(__file__).parents[2] / "bench" / "serving.py"


@pytest.fixture(scope="module")
def serving() -> ModuleType:
    """The benchmark's script as a module, under a name that a spawned process does not need."""
    spec = importlib.util.spec_from_file_location("bench_serving", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_serving"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A folder as `vl-genrm pocket export` writes it."""
    rows = []
    for i in range(3):
        Image.new("RGB", (32, 32), (i * 80, 0, 0)).save(tmp_path / f"{i}.png")
        row = {"id": str(i), "query": "What colour?", "response": ["Red.", f"Blue {i}."], "image": f"{i}.png"}
        rows.append({**row, "human_ranking": [0, 1]})
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n", "utf-8")
    return tmp_path


@pytest.fixture
def url() -> Iterator[str]:
    """A live service on the fake engine."""
    settings = load_settings(shutdown_timeout_seconds=5)
    app = create_app(settings, lambda *_: FakeEngine(), lambda *_: None)
    ready = threading.Event()
    with open_port("127.0.0.1", 0) as listener:
        server = JudgeServer(app, settings, on_ready=lambda _: ready.set())
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        assert ready.wait(120)
        yield format_url(listener)
        server.should_exit = True
        thread.join(60)


def run_until(serving: ModuleType, count: str, **options: object) -> Outcome:
    """The outcome of a short load with at least one of what is counted; on a busy machine a longer one."""
    for seconds in (1, 10, 60):
        outcome: Outcome = serving.generate_load(serving.Load(warmup_seconds=0, seconds=seconds, **options))
        if getattr(outcome, count) > 0:
            return outcome
    raise AssertionError(f"{count} stayed 0")


def test_pairs_are_read_in_the_order_of_the_file(serving: ModuleType, pairs: Path) -> None:
    loaded = serving.load_pairs(pairs)
    assert [pair.response_b for pair in loaded] == ["Blue 0.", "Blue 1.", "Blue 2."]
    assert loaded[0].image.startswith(b"\x89PNG")


def test_a_folder_without_rows_is_told_with_the_remedy(serving: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="vl-genrm pocket export"):
        serving.load_pairs(tmp_path)


@pytest.mark.parametrize(("percent", "value"), [(50, 50.5), (90, 90.1), (99, 99.01)])
def test_percentiles_are_interpolated(serving: ModuleType, percent: int, value: float) -> None:
    assert serving.find_percentile([float(i) for i in range(1, 101)], percent) == pytest.approx(value)


def test_percentiles_of_few_values_do_not_fail(serving: ModuleType) -> None:
    assert serving.find_percentile([], 50) is None
    assert serving.find_percentile([7.0], 99) == 7.0


def test_only_what_ends_inside_the_window_counts(serving: ModuleType) -> None:
    load = serving.Load(url="", folder=Path(), num_clients=2, warmup_seconds=1, seconds=10, mode="critique")
    samples = [
        serving.Sample(ended=ended, latency_ms=ended, completion_tokens=tokens)
        for ended, tokens in [(99.9, 5), (100.0, 5), (105.0, 15), (106.0, None), (109.9, 20), (110.0, 5)]
    ]
    outcome = serving.summarise(load, samples, window_start=100.0)
    assert (outcome.num_verdicts, outcome.num_errors) == (3, 1)
    assert outcome.verdicts_per_second == pytest.approx(0.3)
    assert outcome.completion_tokens_per_second == pytest.approx(4)
    assert outcome.p50_ms == pytest.approx(105)


def test_a_load_on_a_real_service_gives_verdicts(serving: ModuleType, pairs: Path, url: str) -> None:
    outcome = run_until(serving, "num_verdicts", url=url, folder=pairs, num_clients=4, mode="critique")
    assert outcome.num_verdicts > 0
    assert outcome.num_errors == 0
    percentiles = [outcome.p50_ms, outcome.p90_ms, outcome.p99_ms]
    assert sorted(value for value in percentiles if value is not None) == percentiles


def test_refusals_are_counted_as_errors_and_told(
    serving: ModuleType, pairs: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (pairs / "0.png").write_bytes(b"no image")
    assert run_until(serving, "num_errors", url=url, folder=pairs, num_clients=1, mode="fast").num_errors > 0
    assert "first error" in capsys.readouterr().err


def test_the_memory_of_a_process_is_read_where_the_system_tells(serving: ModuleType) -> None:
    import os

    memory = serving.read_memory(os.getpid())
    if not Path("/proc").is_dir():
        assert memory == {}
    else:
        assert memory["peak_rss_mib"] >= memory["rss_mib"] > 10


def test_a_report_is_a_table_for_people(serving: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    run = {"num_clients": 32, "verdicts_per_second": 31.25, "p50_ms": 900.0, "num_errors": 0, "rss_mib": None}
    serving.print_table({"model": "judge", "mode": "critique", "window_seconds": 30.0}, [run])
    printed = capsys.readouterr().out
    assert "verdicts/s" in printed
    assert "31.25" in printed


def test_the_defaults_measure_one_and_thirty_two_clients(
    serving: ModuleType, pairs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[argparse.Namespace] = []

    def measure(_: object, options: argparse.Namespace) -> dict[str, object]:
        seen.append(options)
        return {"model": "m", "mode": options.mode, "window_seconds": options.seconds, "runs": []}

    monkeypatch.setattr(serving, "measure", measure)
    report = tmp_path / "report.json"
    serving.main(["--url", "http://x", "--pairs", str(pairs), "--json", str(report)])
    assert (seen[0].clients, seen[0].mode) == ([1, 32], "critique")
    assert json.loads(report.read_text("utf-8"))["model"] == "m"
