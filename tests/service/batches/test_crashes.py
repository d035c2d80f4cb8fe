"""Batches and processes that die: nothing is lost, nothing comes twice, and next to nothing is judged twice."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import openai
import psycopg
import pytest
from openai.types import Batch

if TYPE_CHECKING:
    from tests.service.batches.conftest import MakeLine

SERVICE = Path(__file__).parent / "counting_service.py"
NUM_WORKERS = 4
SECONDS = 0.03


class Replica:
    """A service process on a port of its own. notes: the file where it notes its judgements."""

    def __init__(self, database_url: str, notes: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._command = [sys.executable, str(SERVICE), database_url, str(self.port), str(notes), str(SECONDS)]
        self.client = openai.OpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key="any", max_retries=0)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and return when it is ready."""
        self._process = subprocess.Popen(self._command, stderr=subprocess.PIPE)
        limit = time.monotonic() + 60
        with httpx.Client(base_url=f"http://127.0.0.1:{self.port}") as asking:
            while time.monotonic() < limit:
                assert self._process.poll() is None, self._process.communicate()[1].decode()
                with contextlib.suppress(httpx.TransportError):
                    if asking.get("/readyz").is_success:
                        return
                time.sleep(0.05)
        raise AssertionError("it did not become ready")

    def stop(self, sent: signal.Signals) -> None:
        """End it, in order or not."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(sent)
            self._process.communicate(timeout=30)


MakeReplica = Callable[[str], Replica]


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Where judgements are noted, by all replicas of a test."""
    return tmp_path / "notes"


@pytest.fixture
def make_replica(notes: Path) -> Iterator[MakeReplica]:
    """Makes services that are stopped in the end."""
    made: list[Replica] = []

    def make(database_url: str) -> Replica:
        made.append(Replica(database_url, notes))
        return made[-1]

    yield make
    for replica in made:
        replica.client.close()
        replica.stop(signal.SIGKILL)


def start_batch(client: openai.OpenAI, make_line: MakeLine, num_lines: int) -> Batch:
    lines = [make_line(f"row-{i}", question=f"Is this row-{i}?") for i in range(num_lines)]
    content = "\n".join(map(json.dumps, lines)).encode()
    file = client.files.create(file=("rows.jsonl", content), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint="/v1/judge", completion_window="24h")  # type: ignore[arg-type]


def wait_for_end(client: openai.OpenAI, batch: Batch, seconds: float = 90) -> list[str]:
    """The names of the lines that have a verdict, in the order of the output file."""
    limit = time.monotonic() + seconds
    while (now := client.batches.retrieve(batch.id)).status != "completed":
        assert time.monotonic() < limit, f"still {now.status}: {now.request_counts}"
        time.sleep(0.1)
    assert now.output_file_id is not None
    return [json.loads(line)["custom_id"] for line in client.files.content(now.output_file_id).content.splitlines()]


def count_judged(notes: Path) -> Counter[str]:
    return Counter(line.split()[0] for line in notes.read_text().splitlines())


def test_a_killed_service_loses_no_line_and_judges_none_twice_but_those_that_ran(
    database: str, notes: Path, make_replica: MakeReplica, make_line: MakeLine
) -> None:
    num_lines, num_kills = 300, 4
    replica = make_replica(database)
    replica.start()
    batch = start_batch(replica.client, make_line, num_lines)
    chance = random.Random(5)
    for _ in range(num_kills):
        time.sleep(chance.uniform(0.05, 0.8))
        replica.stop(signal.SIGKILL)
        replica.start()
    names = wait_for_end(replica.client, batch)
    assert names == [f"row-{i}" for i in range(num_lines)]
    judged = count_judged(notes)
    assert len(judged) == num_lines
    assert judged.total() - num_lines <= num_kills * NUM_WORKERS


def test_a_batch_whose_creation_was_the_last_thing_before_a_kill_is_done(
    database: str, make_replica: MakeReplica, make_line: MakeLine
) -> None:
    replica = make_replica(database)
    replica.start()
    batch = start_batch(replica.client, make_line, 20)
    replica.stop(signal.SIGKILL)
    replica.start()
    assert len(wait_for_end(replica.client, batch)) == 20


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """URL of a database on a real PostgreSQL server, started for these tests on a free loopback port."""
    programs = find_postgres()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    with tempfile.TemporaryDirectory() as name, socket.socket() as free:
        folder = Path(name)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        as_user: list[str] = []
        if os.geteuid() == 0:  # which PostgreSQL refuses to be
            shutil.chown(folder, "nobody")
            as_user = ["setpriv", "--reuid=nobody", "--clear-groups"]
        data = str(folder / "data")
        make = [*as_user, str(programs / "initdb"), "-D", data, "-U", "genrm", "-A", "trust", "--no-sync"]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL, cwd=folder)
        run = [*as_user, str(programs / "postgres"), "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", name, "-F"]
        with subprocess.Popen(run, stderr=subprocess.DEVNULL, cwd=folder) as server:
            try:
                wait_for_port(port)
                yield f"postgresql://genrm@127.0.0.1:{port}/postgres"
            finally:
                server.send_signal(signal.SIGINT)


def find_postgres() -> Path | None:
    """The folder of PostgreSQL's programs."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("initdb")
    folders += [Path(found).parent] if found else []
    return next((folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()), None)


def wait_for_port(port: int) -> None:
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(host="127.0.0.1", port=port, user="genrm", dbname="postgres").close()
            return
        time.sleep(0.05)
    raise AssertionError("PostgreSQL did not start")


def test_the_lines_of_a_killed_replica_are_finished_by_another(
    postgres: str, notes: Path, make_replica: MakeReplica, make_line: MakeLine
) -> None:
    num_lines = 400
    first, second = make_replica(postgres), make_replica(postgres)
    first.start()
    second.start()
    batch = start_batch(first.client, make_line, num_lines)
    while len(count_judged(notes)) < 100:
        time.sleep(0.05)
    workers_so_far = {line.split()[1] for line in notes.read_text().splitlines()}
    first.stop(signal.SIGKILL)
    names = wait_for_end(second.client, batch)
    assert len(workers_so_far) == 2, "both replicas were to share the work"
    assert names == [f"row-{i}" for i in range(num_lines)]
    judged = count_judged(notes)
    assert judged.total() - num_lines <= NUM_WORKERS


def test_a_replica_that_stops_in_order_hands_over_at_once(
    postgres: str, notes: Path, make_replica: MakeReplica, make_line: MakeLine
) -> None:
    first, second = make_replica(postgres), make_replica(postgres)
    first.start()
    second.start()
    batch = start_batch(second.client, make_line, 200)
    while len(count_judged(notes)) < 40:
        time.sleep(0.05)
    first.stop(signal.SIGTERM)
    names = wait_for_end(second.client, batch, seconds=14)  # shorter than it takes to be sure that one has died
    assert len(names) == 200
    assert count_judged(notes).total() == 200
