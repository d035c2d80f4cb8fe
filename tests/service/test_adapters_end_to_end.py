"""Adapters on the shipped judge, over real HTTP: as good as merged, swapped under load, and gone when nobody asks."""

from __future__ import annotations

import gc
import json
import shutil
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from genrm.calibration import CALIBRATION_FILE, write_calibration
from genrm.shipped import judge_folder
from genrm.types import Reading
from service.client import Client, ServiceError
from service.engine_choice import build_engine
from service.schemas import JudgeResponse

if TYPE_CHECKING:
    from tests.service.conftest import LiveServer, Serve

SAMPLES = Path(__file__).parents[2] / "genrm" / "samples"
NUM_SWAPS = 20
MAX_TOKENS = 24
"""Of a critique in these tests: enough for two adapters to differ."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (judge_folder() / "config.json").is_file(),
        reason="the shipped judge is not built; 'vl-genrm pocket build' makes it",
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small adapters of random weights for the shipped judge, strong enough to change its words or, mild,
    no more than its probabilities.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    root = tmp_path_factory.mktemp("adapters").resolve()
    for seed, (name, std) in enumerate((("old", 0.25), ("new", 0.25), ("mild-old", 0.12), ("mild-new", 0.12))):
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_pretrained(judge_folder())
        config = LoraConfig(r=4, lora_alpha=4, target_modules=["q_proj", "v_proj", "down_proj"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PEFT lags behind transformers
            adapted: Any = get_peft_model(model, config)
            for parameter_name, parameter in adapted.named_parameters():
                if "lora_" in parameter_name:
                    torch.nn.init.normal_(parameter, std=std)
            adapted.save_pretrained(str(root / name))
    return root


@pytest.fixture(scope="module")
def server(serve: Serve, folder: Path) -> Iterator[LiveServer]:
    """The shipped judge with the adapter `old` from the start, as `fixed`, and room for more."""
    with serve(
        build=build_engine, start_timeout_seconds=600, adapters=f"fixed={folder / 'old'}", adapter_folder=str(folder)
    ) as live:
        yield live


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """The comparisons of the samples."""
    return [json.loads(line) for line in (SAMPLES / "rows.jsonl").read_text("utf-8").splitlines()]


def ask(url: str, row: dict[str, Any], model: str | None, **options: Any) -> JudgeResponse:
    options |= {} if model is None else {"model": model}
    a, b = row["response"]
    with Client(url, timeout_seconds=600) as client:
        return client.judge(SAMPLES / row["image"], question=row["query"], a=a, b=b, max_tokens=MAX_TOKENS, **options)


def load(url: str, name: str, path: str) -> None:
    body = {"lora_name": name, "lora_path": path, "load_inplace": True}
    httpx.post(f"{url}/v1/load_lora_adapter", json=body, timeout=600).raise_for_status()


def first_probability(reading: Reading) -> float:
    """P(A); -1 for a reading without a verdict."""
    return -1.0 if reading.probabilities is None else reading.probabilities.A


def is_same(one: JudgeResponse, two: JudgeResponse) -> bool:
    """Whether both readings say the same, but for what company in a batch rounds."""
    return all(
        mine.critique == theirs.critique
        and mine.label_mass == pytest.approx(theirs.label_mass, abs=1e-4)
        and first_probability(mine) == pytest.approx(first_probability(theirs), abs=1e-4)
        for mine, theirs in zip(one.readings, two.readings, strict=True)
    )


def test_a_verdict_on_an_adapter_is_that_of_the_judge_with_it_merged(
    server: LiveServer, serve: Serve, folder: Path, rows: list[dict[str, Any]]
) -> None:
    with serve(build=build_engine, start_timeout_seconds=600, adapter=str(folder / "old")) as merged:
        for mode in ("critique", "fast"):
            for row in rows[:3]:
                expected = ask(merged.url, row, None, mode=mode)
                found = ask(server.url, row, "fixed", mode=mode)
                assert (found.model, expected.model) == ("fixed", "judge+old")
                assert is_same(found, expected)
                assert not is_same(found, ask(server.url, row, None, mode=mode))
                assert mode == "critique" or found.probabilities is not None


def test_the_judge_without_adapters_says_what_it_said_before_they_came(
    server: LiveServer, serve: Serve, rows: list[dict[str, Any]]
) -> None:
    with serve(build=build_engine, start_timeout_seconds=600) as plain, ThreadPoolExecutor(4) as pool:
        expected = [ask(plain.url, row, None) for row in rows[:3]]
        mixed = list(pool.map(lambda n: ask(server.url, rows[n // 2], "fixed" if n % 2 else None), range(6)))
    for one, two in zip(mixed[::2], expected, strict=True):
        assert one.model == "judge"
        assert is_same(one, two)


def test_every_request_during_swaps_is_answered_by_one_version_whole(
    server: LiveServer, rows: list[dict[str, Any]]
) -> None:
    expected = {}
    for name in ("old", "new"):
        load(server.url, "swapped", name)
        expected[name] = [ask(server.url, row, "swapped") for row in rows[:3]]
    for old, new in zip(expected["old"], expected["new"], strict=True):
        assert not is_same(old, new)
        for reading, other in zip(old.readings, new.readings, strict=True):
            assert reading.critique != other.critique  # so that a mixture would show

    stop = threading.Event()
    found: list[tuple[int, JudgeResponse]] = []

    def keep_asking(worker: int) -> None:
        turn = worker
        while not stop.is_set():
            found.append((turn % 3, ask(server.url, rows[turn % 3], "swapped")))
            turn += 1

    with ThreadPoolExecutor(6) as pool:
        workers = [pool.submit(keep_asking, number) for number in range(6)]
        try:
            for swap in range(NUM_SWAPS):
                load(server.url, "swapped", ("old", "new")[swap % 2])
        finally:
            stop.set()
        for worker in workers:
            worker.result(600)
    answered_by = {name: sum(is_same(v, expected[name][row]) for row, v in found) for name in expected}
    assert sum(answered_by.values()) == len(found)
    assert min(answered_by.values()) > 0
    assert is_same(ask(server.url, rows[0], "swapped"), expected["new"][0])


def test_a_ranking_that_began_before_a_swap_ends_on_the_old_version(
    server: LiveServer, rows: list[dict[str, Any]]
) -> None:
    candidates = [f"{text} ({number})" for number in range(4) for text in rows[0]["response"]]

    def rank() -> list[float]:
        """The candidates' scores."""
        with Client(server.url, timeout_seconds=600) as client:
            ranking = client.rerank(
                SAMPLES / rows[0]["image"],
                question=rows[0]["query"],
                candidates=candidates,
                mode="fast",
                model="ranked",
            )
        return [result.relevance_score for result in sorted(ranking.results, key=lambda result: result.index)]

    versions = ("mild-old", "mild-new")
    expected = []
    for name in versions:
        load(server.url, "ranked", name)
        expected.append(rank())
    assert max(abs(old - new) for old, new in zip(*expected, strict=True)) > 0.01
    found: list[list[float]] = []
    with ThreadPoolExecutor(2) as pool:
        for swap in range(6):
            rankings = [pool.submit(rank) for _ in range(2)]
            load(server.url, "ranked", versions[swap % 2])
            found += [ranking.result(600) for ranking in rankings]
    assert all(any(scores == pytest.approx(known, abs=1e-3) for known in expected) for scores in found)


def test_an_unloaded_adapter_is_refused_and_its_memory_free(
    server: LiveServer, rows: list[dict[str, Any]], eventually: Callable[[Callable[[], bool]], None]
) -> None:
    load(server.url, "passing", "new")
    models = server.lifecycle._models
    assert models is not None
    engine: Any = models._others["passing"].judge.engine
    alive = weakref.ref(engine._adapter)
    del engine
    ask(server.url, rows[0], "passing")
    httpx.post(f"{server.url}/v1/unload_lora_adapter", json={"lora_name": "passing"}).raise_for_status()
    with pytest.raises(ServiceError, match=r"'passing' is not served here; served: judge, fixed"):
        ask(server.url, rows[0], "passing")

    def is_free() -> bool:
        gc.collect()
        return alive() is None

    eventually(is_free)


def test_a_real_adapter_that_does_not_fit_is_refused_in_words_without_paths(
    server: LiveServer, folder: Path, rows: list[dict[str, Any]]
) -> None:
    spoilt = folder / "spoilt"
    shutil.copytree(folder / "new", spoilt)
    file = spoilt / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | {"r": 2}), "utf-8")
    before = ask(server.url, rows[0], "fixed")
    body = {"lora_name": "fixed", "lora_path": "spoilt", "load_inplace": True}
    answer = httpx.post(f"{server.url}/v1/load_lora_adapter", json=body, timeout=600)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (422, "adapter_refused", "lora_path")
    assert error["message"].startswith("spoilt/adapter_model.safetensors has matrices of other shapes than judge")
    assert str(folder.parent) not in error["message"]
    assert is_same(ask(server.url, rows[0], "fixed"), before)


def test_an_adapter_s_calibration_goes_with_its_version(
    server: LiveServer, folder: Path, rows: list[dict[str, Any]]
) -> None:
    calibrated = folder / "calibrated"
    shutil.copytree(folder / "new", calibrated)
    write_calibration(calibrated, {"critique": 3.0}, notes={})
    assert (calibrated / CALIBRATION_FILE).is_file()
    used = []
    for path in ("new", "calibrated", "new"):
        load(server.url, "tuned", path)
        used.append(ask(server.url, rows[0], "tuned").calibration_temperature)
    assert used == [1.0, 3.0, 1.0]
