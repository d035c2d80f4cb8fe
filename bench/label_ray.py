"""Labelling on Ray: how much faster with two judges than with one, and on two nodes in network namespaces.

Each setup runs `vl-genrm label` on the same pocket comparisons into a folder of its own, with models of one thread per
judge. The speed counts from the moment that every judge has finished its first shard to the last one, so neither the
start of Ray nor loading does; the whole command's time is beside it. `local` is the runner without Ray. That all
folders say the same of every pair is checked, numbers to 0.0001: which prompts share a batch moves their last digits.

With `--nodes` (root, Linux, `ip`) the setup `nodes` is added: a head in one network namespace, whose one CPU runs one
judge, and a worker node in another, joined by a veth pair; the command runs on the head by its address. Both share
cores and disk, so this shows that it works over a network, not how fast it is.

Run: `python bench/label_ray.py --rows 600 --mode fast critique --out ray.json`; some minutes on 2 cores.
"""

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.running_service import Figure, finish, say
from training.jobs.files import read_json
from training.jobs.run_folder import STATE
from training.labelling.tables import VERDICTS

_POLL_SECONDS = 0.1
_ROUNDING = 1e-4
_HEAD, _WORKER = ("genrm-head", "10.231.7.1"), ("genrm-worker", "10.231.7.2")
_PORT = 6379
_MODE, _TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"
"""Variables: that a cluster has a password, and which, the same for all nodes and for the command."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One labelling. seconds: of the whole command. rows_per_second: once all judges work. verdicts: by pair."""

    name: str
    seconds: float
    rows_per_second: float | None
    verdicts: Mapping[str, object]


def run_labelling(
    name: str, arguments: Sequence[str], output: Path, *, num_actors: int, rows: int, prefix: Sequence[str] = ()
) -> Run:
    """Run the command to its end and see which shards are done when. prefix: words before it.

    Raises CalledProcessError if it fails.
    """
    command = (*prefix, sys.executable, "-m", "genrm.cli", "label", *arguments, "--output", str(output))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done: list[tuple[float, int]] = []
    begun = time.perf_counter()
    with subprocess.Popen(command, env=environment) as process:  # noqa: S603 - our own words
        while process.poll() is None:
            steps = [step for step in read_json(output / STATE) or {} if step.startswith("rows-")]
            if len(steps) > (done[-1][1] if done else 0):
                done.append((time.perf_counter() - begun, len(steps)))
            time.sleep(_POLL_SECONDS)
    seconds = time.perf_counter() - begun
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    speed = find_speed(done, num_actors, rows)
    say(f"{name}: {seconds:.1f} s in all, {speed or 0:.2f} rows/s")
    return Run(name=name, seconds=seconds, rows_per_second=speed, verdicts=read_verdicts(output))


def find_speed(done: Sequence[tuple[float, int]], num_actors: int, rows: int) -> float | None:
    """Rows per second. done: when (s) how many shards were done. rows: of one shard. None if there is too little."""
    working = [each for each in done if each[1] >= num_actors]
    if len(working) < 2:
        return None
    (begun, first), (ended, last) = working[0], working[-1]
    return rows * (last - first) / (ended - begun)


def read_verdicts(output: Path) -> dict[str, object]:
    """What a folder says of each pair; readings and evidence, which are kept as JSON, as what they say."""
    import pyarrow.parquet as pq

    rows = [row for file in (output / VERDICTS).glob("*.parquet") for row in pq.read_table(file).to_pylist()]
    return {row["id"]: {name: _read_json(value) for name, value in row.items()} for row in rows}


def count_unlike(one: Mapping[str, object], other: Mapping[str, object]) -> int:
    """Of how many of the first one's pairs the other says something else, or nothing."""
    return sum(not _is_alike(verdict, other.get(name)) for name, verdict in one.items())


def _read_json(value: object) -> object:
    return json.loads(value) if isinstance(value, str) and value[:1] in ("[", "{") else value


def _is_alike(one: object, other: object) -> bool:
    """Equal but for rounding: which prompts share a batch moves the last digits."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= _ROUNDING
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_is_alike(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_alike, one, other))
    return one == other


@contextmanager
def two_nodes() -> Iterator[list[str]]:
    """A head and a worker of one CPU each, in namespaces of their own. Yields the words that run a command on the head.

    Their processes are ended and the namespaces deleted afterwards. Raises CalledProcessError without the rights.
    """
    with ExitStack() as stack:
        for name, _ in (_HEAD, _WORKER):
            _do("ip", "netns", "add", name)
            stack.callback(_do, "ip", "netns", "del", name)
        _do("ip", "link", "add", "genrm-h", "netns", _HEAD[0], "type", "veth", "peer", "genrm-w", "netns", _WORKER[0])
        for (name, address), device in ((_HEAD, "genrm-h"), (_WORKER, "genrm-w")):
            _do(*_inside(name), "ip", "address", "add", f"{address}/24", "dev", device)
            for each in (device, "lo"):
                _do(*_inside(name), "ip", "link", "set", each, "up")
        ray = (sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1", "--num-gpus=0")
        memory, secret = f"--object-store-memory={128 * 2**20}", {_MODE: "token", _TOKEN: secrets.token_hex(32)}
        folders = [stack.enter_context(tempfile.TemporaryDirectory(prefix="ray-")) for _ in range(2)]
        head = ("--head", f"--port={_PORT}", "--include-dashboard=false", f"--temp-dir={folders[0]}")
        for (name, address), words in ((_HEAD, head), (_WORKER, (f"--address={_HEAD[1]}:{_PORT}",))):
            command = (*_inside(name), *ray, memory, f"--node-ip-address={address}", *words)
            environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **secret}
            process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)  # noqa: S603 - our own words
            stack.callback(_end, process)
            time.sleep(10)  # a worker gives up on a head that is not there yet
        yield [*_inside(_HEAD[0]), "env", *(f"{name}={value}" for name, value in secret.items())]


def _inside(namespace: str) -> list[str]:
    return ["ip", "netns", "exec", namespace]


def _do(*command: str) -> None:
    subprocess.run(command, check=True)  # noqa: S603 - our own words


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=600, help="comparisons to label")
    parser.add_argument("--rows-per-shard", type=int, default=30)
    parser.add_argument("--mode", choices=["critique", "fast"], nargs="+", default=["fast", "critique"])
    parser.add_argument("--actors", type=int, nargs="+", default=[1, 2], help="judges on this machine, per setup")
    parser.add_argument("--nodes", action="store_true", help="also on two nodes in network namespaces (root)")
    parser.add_argument("--out", type=Path, help="write the report to this file, as JSON")
    options = parser.parse_args(arguments)
    source = f"pocket:held-out?n={options.rows}"
    figures: list[Figure] = []
    details: dict[str, object] = {"rows": options.rows, "rows_per_shard": options.rows_per_shard}
    for mode in options.mode:
        with tempfile.TemporaryDirectory(prefix="genrm-bench-") as name:
            folder = Path(name)
            plain = (source, "--mode", mode, "--rows-per-shard", str(options.rows_per_shard))
            rows = options.rows_per_shard
            runs = [run_labelling("local", plain, folder / "local", num_actors=1, rows=rows)]
            for num in options.actors:
                pool = (*plain, "--runner", "ray", "--actors", str(num), "--cpus-per-actor", "1")
                runs.append(run_labelling(f"{num} on Ray", pool, folder / f"ray-{num}", num_actors=num, rows=rows))
            if options.nodes:
                with two_nodes() as prefix:
                    pool = (*plain, "--runner", "ray", "--ray-address", f"{_HEAD[1]}:{_PORT}", "--gpus-per-actor", "0")
                    runs.append(
                        run_labelling("2 nodes", pool, folder / "nodes", num_actors=2, rows=rows, prefix=prefix)
                    )
        base = runs[0]
        for each in runs:
            figures += [
                Figure(name=f"{mode}, {each.name}: rows/s", value=each.rows_per_second),
                Figure(name=f"{mode}, {each.name}: the whole command (s)", value=each.seconds),
            ]
            if each is not base:
                unlike = count_unlike(base.verdicts, each.verdicts)
                figures.append(Figure(name=f"{mode}, {each.name}: verdicts unlike local", value=unlike, limit=0))
        one, *more = (run for run in runs[1:])
        for each in more:
            speed_up = (
                each.rows_per_second / one.rows_per_second if each.rows_per_second and one.rows_per_second else None
            )
            figures.append(Figure(name=f"{mode}, {each.name}: times as fast as {one.name}", value=speed_up))
        details[mode] = [{name: value for name, value in asdict(run).items() if name != "verdicts"} for run in runs]
    return finish("labelling on Ray", figures, details, options.out)


if __name__ == "__main__":
    sys.exit(main())
