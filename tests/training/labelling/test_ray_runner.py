"""Labelling on Ray: a pool of judges says what one judge says, whoever of it is killed; and what is no cluster."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from genrm import cli
from genrm.engines.fake import FakeEngine
from genrm.shipped import judge_folder
from service.app import create_app
from service.server import JudgeServer, format_url, open_port
from service.settings import load_settings
from training.jobs.run_folder import STATE, RunFolder, name_shard
from training.labelling.finished import adopt_finished, note_finished
from training.labelling.label import JudgeSection, LabelConfig, OtherJudgeError, run
from training.labelling.ray_cluster import ClusterError, Demand, RayOptions, choose_demand, count_fitting, open_cluster
from training.labelling.ray_runner import ShardWorker, label_on_ray

NUM_ROWS, ROWS_PER_SHARD, NUM_ACTORS = 30, 3, 2
CALL_SECONDS = 0.1
SOURCE = f"pocket:held-out?n={NUM_ROWS}"
SHARDS = [name_shard(start) for start in range(0, NUM_ROWS, ROWS_PER_SHARD)]
BARE = {"CPU": 2.0, "memory": 1e9}
WITH_GPUS = {"CPU": 8.0, "GPU": 2.0}

needs_judge = pytest.mark.skipif(
    not (judge_folder() / "config.json").is_file(),
    reason="the shipped judge is not built; 'vl-genrm pocket build' makes it",
)
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="finds Ray's processes in /proc")


@dataclass(frozen=True)
class Service:
    """A running service: workers ask it over the network, and it counts how often they do."""

    url: str
    engine: FakeEngine


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """A judge that answers at once, but not in no time."""
    settings = load_settings(shutdown_timeout_seconds=5)
    engine = FakeEngine(delay_seconds=CALL_SECONDS)
    app, ready = create_app(settings, lambda *_: engine, lambda *_: None), threading.Event()
    with open_port("127.0.0.1", 0) as listener:
        server = JudgeServer(app, settings, on_ready=lambda _: ready.set())
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        assert ready.wait(120)
        yield Service(format_url(listener), engine)
        server.should_exit = True
        thread.join(60)


@pytest.fixture(scope="module")
def local(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the runner without Ray writes."""
    output = tmp_path_factory.mktemp("local") / "out"
    judge = JudgeSection(url=service.url)
    config = LabelConfig(source=SOURCE, output=output, judge=judge, rows_per_shard=ROWS_PER_SHARD)
    with RunFolder.open(output, config) as folder:
        run(config, folder)
    return output


@pytest.fixture
def start(service: Service, tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts the command with two judges on Ray, on the same folder each time; none is left behind."""
    begun: list[subprocess.Popen[str]] = []

    def start_one() -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "genrm.cli", "label", SOURCE, "--output", str(tmp_path / "out")]
        work = ["--url", service.url, "--rows-per-shard", str(ROWS_PER_SHARD), "--concurrency", "1"]
        pool = ["--runner", "ray", "--actors", str(NUM_ACTORS), "--cpus-per-actor", "0.5"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [*command, *work, *pool], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        begun.append(process)
        return process

    yield start_one
    for process in begun:
        process.terminate()  # so that it stops Ray
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def count_done(output: Path) -> int:
    """Shards that the folder's state or a note says are done."""
    return len(find_done(output))


def find_done(output: Path) -> set[str]:
    state = output / STATE
    known = set(json.loads(state.read_text("utf-8"))) if state.exists() else set()
    return (known | {path.stem for path in (output / "finished").glob("rows-*.json")}) & set(SHARDS)


def wait_until(is_so: Callable[[], object], process: subprocess.Popen[str], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.02)


def find_descendants(process_id: int) -> dict[int, str]:
    """Command lines of the processes below one."""
    parents: dict[int, int] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(file.parent.name)] = int(file.read_text("utf-8").rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has just ended
    found = {process_id}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return {child: read_command(child) for child in found - {process_id}}


def read_command(process_id: int) -> str:
    try:
        return Path(f"/proc/{process_id}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def read_files(output: Path) -> dict[str, bytes]:
    """All that a labelling says, without when and where it ran."""
    files = [*output.glob("*/rows-*.parquet"), output / "result.json", output / "README.md"]
    return {str(file.relative_to(output)): file.read_bytes() for file in files}


# --- the pool ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_proc
def test_a_pool_that_loses_a_process_says_byte_for_byte_what_one_judge_says(
    tmp_path: Path, service: Service, local: Path, start: Callable[[], subprocess.Popen[str]]
) -> None:
    output = tmp_path / "out"
    before = service.engine.num_calls
    command = start()
    wait_until(lambda: count_done(output) >= 1, command)
    workers = [child for child, words in find_descendants(command.pid).items() if "ShardWorker" in words]
    assert len(workers) == NUM_ACTORS
    os.kill(workers[0], signal.SIGKILL)
    assert count_done(output) < len(SHARDS)
    text, _ = command.communicate(timeout=300)
    assert command.returncode == 0, text
    assert f"{NUM_ROWS} pairs judged" in text
    assert read_files(output) == read_files(local)
    assert not (output / "finished").exists()
    assert NUM_ROWS <= service.engine.num_calls - before <= NUM_ROWS + ROWS_PER_SHARD


@pytest.mark.slow
@needs_proc
def test_a_killed_command_goes_on_and_judges_no_finished_shard_again(
    tmp_path: Path, service: Service, local: Path, start: Callable[[], subprocess.Popen[str]]
) -> None:
    output = tmp_path / "out"
    command = start()
    wait_until(lambda: count_done(output) >= 3, command)
    below = find_descendants(command.pid)
    command.kill()
    command.communicate()
    deadline = time.monotonic() + 300
    while any("ShardWorker" in read_command(child) for child in below):  # they end with the one that started Ray
        assert time.monotonic() < deadline, "a worker was left behind"
        time.sleep(0.1)
    done = find_done(output)
    assert 3 <= len(done) < len(SHARDS)
    written = {shard: (output / "dpo" / f"{shard}.parquet").stat().st_mtime_ns for shard in done}
    before = service.engine.num_calls
    command = start()
    text, _ = command.communicate(timeout=300)
    assert command.returncode == 0, text
    assert {shard: (output / "dpo" / f"{shard}.parquet").stat().st_mtime_ns for shard in done} == written
    assert service.engine.num_calls - before == NUM_ROWS - ROWS_PER_SHARD * len(done)
    assert read_files(output) == read_files(local)


# --- workers ----------------------------------------------------------------------------------------------------------


def write_source(folder: Path) -> Path:
    """Rows of which none can be judged: what matters is around them."""
    path = folder / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"id": f"r{i}", "question": "What?"}) for i in range(4)))
    return path


def ask(worker: ShardWorker, *blocks: tuple[int, int]) -> list[Any]:
    batch = {"start": [start for start, _ in blocks], "stop": [stop for _, stop in blocks]}
    with closing(worker):
        return [json.loads(text) for text in worker(batch)["answer"]]


def test_a_worker_gives_the_note_of_a_finished_shard_and_judges_nothing(tmp_path: Path) -> None:
    config = LabelConfig(source="nothing", output=tmp_path)
    note_finished(tmp_path, 0, {"judge": {"model": "m"}, "fates": {"kept": 2}})
    answers = ask(ShardWorker(config, None, 1), (0, 2))
    assert answers == [{"start": 0, "stop": 2, "judge": {"model": "m"}, "fates": {"kept": 2}}]


def test_what_a_worker_cannot_do_is_an_answer(tmp_path: Path) -> None:
    config = LabelConfig(source="nothing", output=tmp_path)
    (answer,) = ask(ShardWorker(config, None, 1), (0, 2))
    assert answer["error"] == "SourceError"
    assert "'nothing' is no source" in answer["message"]


def test_rows_that_end_whoever_judges_them_end_the_run(tmp_path: Path) -> None:
    config = LabelConfig(source="nothing", output=tmp_path)
    answers = [ask(ShardWorker(config, None, 1), (0, 2))[0] for _ in range(5)]
    assert "'nothing' is no source" in answers[3]["message"]
    assert "4 processes died while they judged rows 0 to 1" in answers[4]["message"]
    with RunFolder.open(tmp_path, config) as folder:
        adopt_finished(folder)
    (again,) = ask(ShardWorker(config, None, 1), (0, 2))
    assert again["error"] == "SourceError"


@needs_judge
def test_a_worker_with_another_judge_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    config = LabelConfig(source=str(write_source(tmp_path)), output=tmp_path / "out", mode="fast")
    (answer,) = ask(ShardWorker(config, {"model": "another"}, 1), (0, 2))
    assert answer["error"] == OtherJudgeError.__name__
    assert "same model" in answer["message"]
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_notes_of_a_run_that_was_cut_off_are_taken_over(tmp_path: Path) -> None:
    config = LabelConfig(source=str(write_source(tmp_path)), output=tmp_path / "out", rows_per_shard=2)
    with RunFolder.open(config.output, config) as folder:
        note_finished(folder.path, 0, {"judge": {"model": "m"}, "fates": {"kept": 1, "tie": 1}})
        note_finished(folder.path, 2, {"judge": {"model": "another"}, "fates": {"kept": 2}})
        asked: list[tuple[int, int]] = []

        def see(_config: LabelConfig, folder: RunFolder, _table: object, todo: Any) -> None:
            asked.extend(todo)
            folder.mark_done(name_shard(2), {"row skipped": 2})

        (folder.path / "verdicts").mkdir()
        result = run(config, folder, see)
    assert asked == [(2, 4)]
    assert result["fates"] == {"kept": 1, "row skipped": 2, "tie": 1}


# --- clusters ---------------------------------------------------------------------------------------------------------


def test_actors_get_a_gpu_where_a_model_is_loaded_and_there_are_some() -> None:
    assert choose_demand(RayOptions(), [BARE], loads_model=True) == Demand(cpus=1, gpus=0)
    assert choose_demand(RayOptions(), [BARE, WITH_GPUS], loads_model=True) == Demand(cpus=1, gpus=1)
    assert choose_demand(RayOptions(), [WITH_GPUS], loads_model=False) == Demand(cpus=1, gpus=0)


@pytest.mark.parametrize(
    ("cpus", "gpus", "number"), [(1, 0, 10), (4, 0, 2), (1, 1, 2), (1, 0.5, 4), (4, 0.5, 2), (0.1, 0, 100), (0, 0, 10)]
)
def test_as_many_actors_fit_as_every_machine_has_room_for(cpus: float, gpus: float, number: int) -> None:
    assert count_fitting(Demand(cpus=cpus, gpus=gpus), [BARE, WITH_GPUS]) == number


def test_an_actor_that_no_machine_has_room_for_is_refused() -> None:
    with pytest.raises(ClusterError, match=r"asks for 9 CPUs and 0 GPUs.*8 CPUs and 2 GPUs\).*--cpus-per-actor"):
        choose_demand(RayOptions(cpus_per_actor=9), [BARE, WITH_GPUS], loads_model=False)
    with pytest.raises(ClusterError, match="1 CPUs and 1 GPUs"):
        choose_demand(RayOptions(gpus_per_actor=1), [BARE], loads_model=True)


def test_a_cluster_that_is_not_there_is_an_error_in_time(tmp_path: Path) -> None:
    config = LabelConfig(source=str(write_source(tmp_path)), output=tmp_path / "out")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    begun = time.monotonic()
    runner = partial(label_on_ray, RayOptions(address=address))
    with (
        RunFolder.open(config.output, config) as folder,
        pytest.raises(ClusterError, match=f"at {address} does not answer.*--ray-address"),
    ):
        run(config, folder, runner)
    assert time.monotonic() - begun < 60


def test_something_else_that_answers_at_the_address_is_no_cluster() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ClusterError, match="does not answer within 5 s"), open_cluster(address, connect_seconds=5):
            pass


@pytest.mark.parametrize("address", ["ray://head:10001", "head", "head:port"])
def test_an_address_of_another_kind_is_refused_at_once(address: str) -> None:
    with pytest.raises(ClusterError, match="give HOST:PORT"), open_cluster(address):
        pass


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r"pip install 'vl-genrm\[train,ray\]'"), open_cluster(None):
        pass


def test_options_of_the_pool_need_the_runner(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["label", str(write_source(tmp_path)), "--output", str(tmp_path / "out"), "--actors", "2"])
    assert end.value.code == 2
    assert "add --runner ray" in " ".join(capsys.readouterr().err.replace("│", " ").split())
