"""The runner of a labelling on Ray Data: a pool of judges, on one machine or on many, each with its cores or GPU.

What streams through Ray are the numbers of blocks of rows, and back come counts. Each actor opens the source itself,
reads the rows of its block, judges them and writes the shard's files into the output folder, so memory is one block per
actor, and the folder and the source must be at the same paths on all machines. A worker that dies costs the shard it
was at, which another one takes; a driver that dies costs those in flight (`training.labelling.finished`).
"""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from genrm.errors import EngineError, GenRMError, ModelLoadError
from training.jobs.files import DiskFullError
from training.jobs.run_folder import RunFolder, name_shard
from training.labelling.candidates import CandidateTable
from training.labelling.finished import JUDGE, count_attempt, note_finished, read_note
from training.labelling.label import (
    Blocks,
    LabelConfig,
    OtherJudgeError,
    ShardLabeller,
    refuse_other_judge,
    show_progress,
)
from training.labelling.ray_cluster import (
    ClusterError,
    Demand,
    RayOptions,
    choose_demand,
    count_fitting,
    list_nodes,
    open_cluster,
)
from training.sources import Skipped, log_skipped
from training.tables import SourceError

_MAX_ATTEMPTS = 4
"""Processes that may begin a shard, each but the first after the one before died."""
_KINDS: Mapping[str, type[GenRMError]] = {
    kind.__name__: kind for kind in (EngineError, ModelLoadError, SourceError, DiskFullError, OtherJudgeError)
}
"""Errors of workers that keep their kind on the way to the driver; others arrive as EngineError."""

_logger = logging.getLogger(__name__)


class ShardWorker:
    """One judge of the pool: labels the blocks whose numbers it is given. Lives in a process of Ray.

    judge: how the folder's judge describes itself, if that is known; another one is refused. num_threads: for models
    on the CPU. directory: what names of model folders are relative to, if it is there. The judge is loaded with the
    first block, so what goes wrong is an answer like others.
    """

    def __init__(
        self, config: LabelConfig, judge: Mapping[str, object] | None, num_threads: int, directory: str = "."
    ) -> None:
        self._config, self._expected, self._num_threads = config, judge, num_threads
        if Path(directory).is_dir():
            os.chdir(directory)
        self._loop = asyncio.Runner()
        self._labeller: ShardLabeller | None = None
        self._described: dict[str, object] = {}

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[str]]:
        """The answers for a batch of blocks, one text of JSON each: counts, or why the run must end."""
        blocks = zip(batch["start"], batch["stop"], strict=True)
        return {"answer": [json.dumps(self._answer(int(start), int(stop))) for start, stop in blocks]}

    def close(self) -> None:
        """Close judge and event loop. A process of Ray ends with them; whoever has a worker in its own calls this."""
        if self._labeller is not None:
            self._loop.run(self._labeller.close())
            self._labeller = None
        self._loop.close()

    def _answer(self, start: int, stop: int) -> dict[str, Any]:
        try:
            note = read_note(self._config.output, start)
            if note is None or note["judge"] != (self._expected or note["judge"]):
                note = self._label(start, stop)
        except GenRMError as error:
            return {"error": type(error).__name__, "message": str(error)}
        return {"start": start, "stop": stop, **note}

    def _label(self, start: int, stop: int) -> dict[str, Any]:
        if count_attempt(self._config.output, start) > _MAX_ATTEMPTS:
            raise EngineError(
                f"{_MAX_ATTEMPTS} processes died while they judged rows {start} to {stop - 1}. If memory is short, use "
                "fewer --actors or a smaller --concurrency; else look at those rows. What was finished is kept."
            )
        labeller = self._labeller or self._open()
        outcome = self._loop.run(labeller.label(start, stop))
        note = {"judge": self._described, "fates": dict(outcome.fates)}
        note_finished(self._config.output, start, note)
        return {**note, "skipped": [asdict(row) for row in outcome.skipped[:10]]}

    def _open(self) -> ShardLabeller:
        from datasets import disable_progress_bars

        disable_progress_bars()
        os.environ["OMP_NUM_THREADS"] = str(self._num_threads)  # the engine's choice of threads follows it
        config = self._config
        table = CandidateTable(config.source, images=config.images, limit=config.limit)
        labeller = ShardLabeller(config, table)
        _set_num_threads(self._num_threads)
        self._described = json.loads(json.dumps(self._loop.run(labeller.start())))
        if self._expected is not None and self._described != self._expected:
            self._loop.run(labeller.close())
            raise OtherJudgeError(
                f"{config.output} was begun with the judge {self._expected}, and a worker has {self._described}. Give "
                "all machines the same model, or name another --output."
            )
        self._labeller = labeller
        return labeller


def label_on_ray(
    options: RayOptions, config: LabelConfig, folder: RunFolder, table: CandidateTable, todo: Blocks
) -> None:
    """Label blocks with a pool of judges; `functools.partial` makes a runner of it.

    Raises ClusterError, OtherJudgeError, and what a worker met: EngineError, ModelLoadError, SourceError or
    DiskFullError.
    """
    with open_cluster(options.address):
        nodes = list_nodes()
        loads_model = config.judge.url is None and (config.judge.engine_url is None or config.experts != "off")
        demand = choose_demand(options, nodes, loads_model=loads_model)
        num_fitting = count_fitting(demand, nodes)
        num_actors = min(options.actors or num_fitting, len(todo))
        if num_actors > num_fitting:
            _logger.warning(
                "%d actors were asked for and %d fit into the cluster; the others start when it grows.",
                num_actors,
                num_fitting,
            )
        judge = folder.result_of(JUDGE) if folder.is_done(JUDGE) else None
        worker = {
            "config": _with_whole_paths(config),
            "judge": judge,
            "num_threads": max(1, int(demand.cpus)),
            "directory": str(Path.cwd()),
        }
        with show_progress(table, todo) as bar:
            bar.set_postfix_str(f"{num_actors} actors")
            for answer in _stream(worker, demand, min(num_actors, num_fitting), num_actors, todo):
                if "error" in answer:
                    raise _KINDS.get(answer["error"], EngineError)(answer["message"])
                refuse_other_judge(folder, answer["judge"])
                log_skipped([Skipped(**row) for row in answer.get("skipped", ())])
                folder.mark_done(name_shard(answer["start"]), answer["fates"])
                bar.update(answer["stop"] - answer["start"])


def _stream(
    worker: Mapping[str, Any], demand: Demand, min_actors: int, max_actors: int, todo: Blocks
) -> Iterator[dict[str, Any]]:
    """The workers' answers as they come. Raises ClusterError if Ray gives up."""
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False  # ours counts rows
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1  # a shard takes as long as it takes
    context.max_consecutive_actor_init_deaths = _MAX_ATTEMPTS
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    blocks = ray.data.from_items(
        [{"start": start, "stop": stop} for start, stop in todo], override_num_blocks=len(todo)
    )
    answers = blocks.map_batches(
        ShardWorker,
        batch_size=1,
        compute=ActorPoolStrategy(min_size=min_actors, max_size=max_actors, max_tasks_in_flight_per_actor=1),
        fn_constructor_kwargs=dict(worker),
        num_cpus=demand.cpus,
        num_gpus=demand.gpus,
    )
    try:
        for batch in answers.iter_batches(batch_size=None, prefetch_batches=0):
            yield from map(json.loads, batch["answer"])
    except (ray.exceptions.RayTaskError, ray.exceptions.UserCodeException):
        raise  # a defect of ours: with its trace
    except (ray.exceptions.RayError, ConnectionError) as error:
        raise ClusterError(
            f"Ray ended the run ({type(error).__name__}: {_first_line(error)}). What was finished is kept: run the "
            "same command to go on."
        ) from error


def _with_whole_paths(config: LabelConfig) -> LabelConfig:
    """The configuration for a process elsewhere. Models keep their names, which are part of what a judge says it is."""
    is_file = Path(config.source).exists()
    return config.model_copy(
        update={
            "output": config.output.absolute(),
            "source": str(Path(config.source).absolute()) if is_file else config.source,
            "images": config.images and config.images.absolute(),
        }
    )


def _set_num_threads(number: int) -> None:
    """For models on the CPU, where torch was loaded before its environment variable was set."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(number)


def _first_line(error: BaseException) -> str:
    lines: Sequence[str] = str(error).strip().splitlines()
    return lines[0] if lines else "no reason given"
