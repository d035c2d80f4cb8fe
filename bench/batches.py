"""Batches on the real judge: killed at random moments, and fifty thousand lines long.

`kills`: a service works on a batch and is killed with SIGKILL again and again, at random moments, and started again.
It is our own service with one addition: before the engine is asked, the name of the line goes into a file, so that what
was judged can be counted whatever happens to the process. Counted are lines that are lost, lines that come twice, and
judgements that were made again.

`memory`: a file of many lines is uploaded and worked on for a while, and the process's memory is read every half a
second. Idle is the memory after a batch of a few lines.

Run: `python bench/batches.py kills`, about six minutes; `python bench/batches.py memory`, about four.
"""

import argparse
import asyncio
import base64
import contextlib
import io
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httpx
from PIL import Image

from bench.running_service import Figure, add_options, finish, say
from bench.serving import load_pairs, read_memory
from genrm.engines.contract import Completion, Engine, OnText, Prompt, Sampling
from service.settings import load_settings

_READY_SECONDS = 180.0
_IDLE_LINES = 64
_NAME = re.compile(r"row-\d+")
_MIB = 2**20


class NotingEngine:
    """An engine that notes the name of each line in a file before it asks the real one."""

    def __init__(self, engine: Engine, notes: Path) -> None:
        self._engine = engine
        self._notes = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def __getattr__(self, name: str) -> object:
        """Whatever else the real one has."""
        return getattr(self._engine, name)

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, on_text: OnText | None = None
    ) -> list[Completion]:
        """As the real engine."""
        for name in {found.group() for prompt in prompts if (found := _NAME.search(prompt.shared))}:
            os.write(self._notes, f"{name}\n".encode())
        return await self._engine.complete(prompts, sampling, on_text=on_text)


def serve(notes: Path) -> None:
    """Serve as `vl-genrm serve` does, with a noting engine; settings come from the environment."""
    from service.app import create_app
    from service.engine_choice import build_engine
    from service.server import open_port, run_server

    settings = load_settings()
    with open_port(settings.host, settings.port) as listener:
        app = create_app(settings, lambda *given: cast("Engine", NotingEngine(build_engine(*given), notes)))
        run_server(app, settings, listener, lambda _: None)


@dataclass
class Service:
    """Our service on a port and a database of its own, started and killed at will."""

    folder: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=600)

    @property
    def notes(self) -> Path:
        """The file with the names of lines that were judged."""
        return self.folder / "notes"

    def start(self) -> None:
        """Start, and return when it is ready."""
        chosen = {
            "GENRM_DATABASE_URL": f"sqlite:///{self.folder}/genrm.db",
            "GENRM_PORT": str(self.port),
            "GENRM_EXPERTS": "none",
            "GENRM_MAX_PREFIX_TOKENS": "0",  # the pictures come again and again
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        command = [sys.executable, str(Path(__file__).resolve()), "serve", str(self.notes)]
        log = (self.folder / "service.log").open("ab")
        with log:
            self.process = subprocess.Popen(command, env={**os.environ, **chosen}, stderr=log)  # noqa: S603 - our own
        limit = time.monotonic() + _READY_SECONDS
        while time.monotonic() < limit:
            if self.process.poll() is not None:
                sys.exit(f"The service ended: {(self.folder / 'service.log').read_text()[-2000:]}")
            with contextlib.suppress(httpx.TransportError):
                if self.http.get("/readyz").is_success:
                    return
            time.sleep(0.05)
        sys.exit("The service did not become ready.")

    def stop(self, sent: signal.Signals) -> None:
        """End it, in order or not."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(sent)
            self.process.wait(60)

    def start_batch(self, file: Path, window: str = "24h") -> str:
        """Upload a file and start a batch of it; its id."""
        with file.open("rb") as content:
            sent = self.http.post("/v1/files", data={"purpose": "batch"}, files={"file": (file.name, content)})
        sent.raise_for_status()
        body = {"input_file_id": sent.json()["id"], "endpoint": "/v1/judge", "completion_window": window}
        created = self.http.post("/v1/batches", json=body)
        created.raise_for_status()
        return str(created.json()["id"])

    def get_batch(self, batch_id: str) -> dict[str, Any]:
        """How far it is."""
        answer = self.http.get(f"/v1/batches/{batch_id}")
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def wait(self, batch_id: str) -> dict[str, Any]:
        """The batch when it has ended."""
        while (batch := self.get_batch(batch_id))["status"] not in ("completed", "failed", "cancelled", "expired"):
            time.sleep(0.2)
        return batch


@contextlib.contextmanager
def run() -> Iterator[Service]:
    """A service that is ready; stopped in the end."""
    with tempfile.TemporaryDirectory(prefix="genrm-bench-") as name:
        service = Service(Path(name))
        service.start()
        try:
            yield service
        finally:
            service.stop(signal.SIGKILL)
            service.http.close()


def write_lines(file: Path, pairs_folder: Path, num_lines: int) -> None:
    """A batch's input: the comparisons of a folder again and again, in `fast` mode, each with a name in its question.

    Pictures are made small, so that the file's size is that of its lines and not of its pictures.
    """
    bodies = []
    for pair in load_pairs(pairs_folder):
        small = io.BytesIO()
        Image.open(io.BytesIO(pair.image)).convert("RGB").resize((84, 84)).save(small, "JPEG", quality=80)
        url = f"data:image/jpeg;base64,{base64.b64encode(small.getvalue()).decode()}"
        answers = {"response_a": pair.response_a, "response_b": pair.response_b}
        bodies.append({"image": {"url": url}, "question": pair.question, **answers, "mode": "fast"})
    with file.open("w", encoding="utf-8") as output:
        for number in range(num_lines):
            body = bodies[number % len(bodies)]
            body = {**body, "question": f"{body['question']} (row-{number})"}
            output.write(json.dumps({"custom_id": f"row-{number}", "url": "/v1/judge", "body": body}) + "\n")


def measure_kills(args: argparse.Namespace) -> int:
    """Kill the service again and again while it works on a batch, and count."""
    num_workers = load_settings().batch_workers
    chance = random.Random(args.seed)
    with run() as service:
        file = service.folder / "rows.jsonl"
        write_lines(file, args.pairs, args.lines)
        batch_id = service.start_batch(file)
        started = time.monotonic()
        done_at_kills: list[int] = []
        for number in range(1, args.times + 1):
            time.sleep(chance.uniform(0, args.longest))
            done_at_kills.append(service.get_batch(batch_id)["request_counts"]["completed"])
            time.sleep(chance.uniform(0, 0.2))  # not right after a question
            service.stop(signal.SIGKILL)
            say(f"kill {number} of {args.times} after {done_at_kills[-1]:,} of {args.lines:,} lines")
            service.start()
        batch = service.wait(batch_id)
        output = service.http.get(f"/v1/files/{batch['output_file_id']}/content").text
        judged = Counter(service.notes.read_text().split())
    names = Counter(json.loads(line)["custom_id"] for line in output.splitlines())
    again = judged.total() - len(judged)
    figures = (
        Figure(name="lines lost", value=args.lines - len(names), limit=0),
        Figure(name="lines that come twice", value=names.total() - len(names), limit=0),
        Figure(name="lines that failed", value=batch["request_counts"]["failed"], limit=0),
        Figure(name="judged again", value=again, limit=args.times * num_workers),
        Figure(name="kills while lines were left", value=sum(done < args.lines for done in done_at_kills)),
        Figure(name="seconds, restarts included", value=time.monotonic() - started),
    )
    details = {"status": batch["status"], "workers": num_workers, "done_at_kills": done_at_kills, "seed": args.seed}
    return finish(f"A batch of {args.lines:,} lines, killed {args.times} times", figures, details, args.out)


def measure_memory(args: argparse.Namespace) -> int:
    """Upload a long file, work on it for a while, and watch the memory."""
    with run() as service:
        assert service.process is not None
        process_id = service.process.pid
        file = service.folder / "rows.jsonl"
        write_lines(file, args.pairs, _IDLE_LINES)
        service.wait(service.start_batch(file))
        time.sleep(2)
        idle_mib = read_memory(process_id)["rss_mib"]
        write_lines(file, args.pairs, args.lines)
        file_mib = file.stat().st_size / _MIB
        say(f"idle {idle_mib:,.0f} MiB; a file of {args.lines:,} lines and {file_mib:,.0f} MiB is sent")
        samples, seconds = asyncio.run(_watch(service, process_id, file, args.seconds))
        last = samples[-1]
    highest = max(sample["rss_mib"] for sample in samples)
    figures = (
        Figure(name="lines accepted", value=last["total"], limit=args.lines, is_least=True),
        Figure(name="memory above idle (MiB), highest", value=highest - idle_mib, limit=200),
        Figure(name="memory above idle (MiB), at the end", value=last["rss_mib"] - idle_mib),
        Figure(name="idle (MiB)", value=idle_mib),
        Figure(name="file (MiB)", value=file_mib),
        Figure(name="seconds to upload and start", value=seconds["accepted"]),
        Figure(name="seconds until its lines were counted", value=seconds["counted"]),
        Figure(name="lines done", value=last["completed"]),
        Figure(name="lines a second", value=last["completed"] / (seconds["ended"] - seconds["counted"])),
    )
    return finish(f"A batch of {args.lines:,} lines", figures, {"samples": samples}, args.out)


async def _watch(
    service: Service, process_id: int, file: Path, work_seconds: float
) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Send and work, with the memory noted meanwhile. Returns the notes, and when what was reached."""
    started = time.monotonic()
    seconds: dict[str, float] = {}
    sending = asyncio.create_task(asyncio.to_thread(service.start_batch, file))
    samples: list[dict[str, float]] = []
    while "counted" not in seconds or time.monotonic() - started < seconds["counted"] + work_seconds:
        sample = {"seconds": time.monotonic() - started, "rss_mib": read_memory(process_id)["rss_mib"]}
        if sending.done():
            seconds.setdefault("accepted", sample["seconds"])
            batch = await asyncio.to_thread(service.get_batch, sending.result())
            sample |= batch["request_counts"]
            if batch["status"] == "failed":
                sys.exit(f"The batch failed: {batch['errors']}")
            if sample["total"]:
                seconds.setdefault("counted", sample["seconds"])
            if batch["status"] == "completed":
                break
        samples.append(sample)
        await asyncio.sleep(0.5)
    seconds["ended"] = time.monotonic() - started
    return samples, seconds


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve", help="used by the others: serve, and note what is judged")
    serving.add_argument("notes", type=Path)
    kills = commands.add_parser("kills", help="kill the service at random moments")
    kills.add_argument("--lines", type=int, default=5_000)
    kills.add_argument("--times", type=int, default=20)
    kills.add_argument("--longest", type=float, default=12.0, help="most seconds between a start and a kill")
    kills.add_argument("--seed", type=int, default=0)
    memory = commands.add_parser("memory", help="a long file")
    memory.add_argument("--lines", type=int, default=50_000)
    memory.add_argument("--seconds", type=float, default=120.0, help="how long it is worked on")
    for one in (kills, memory):
        add_options(one)
    args = parser.parse_args()
    if args.command == "serve":
        serve(args.notes)
        return 0
    return measure_kills(args) if args.command == "kills" else measure_memory(args)


if __name__ == "__main__":
    sys.exit(main())
