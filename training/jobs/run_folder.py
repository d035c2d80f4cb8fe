"""The folder that a job writes: its configuration, where it ran, how far it is, and its results.

    config.yaml        every setting, defaults included; a resumed run must have the same
    environment.json   one entry per start: versions, commit, machine, command line
    state.json         the steps that are done, each with its result
    metrics.jsonl      what `log_metrics` was told; the same in tensorboard/
    result.json        the final figures, when the job is done; studies read it

A job is a sequence of named steps. It asks `is_done`, works, writes, and says `mark_done`; started again with the same
configuration it skips what is done. The folder knows nothing of what the steps are.

Under `accelerate launch` every process opens the folder, but only the first one locks and writes; writes of the others
have no effect. Waiting for each other is the job's business.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from filelock import FileLock, Timeout
from pydantic import ValidationError

from genrm.errors import GenRMError
from training.jobs.config import ConfigError, JobConfig, dump_config, flatten, parse_yaml, read_mapping
from training.jobs.environment import describe_environment
from training.jobs.files import append_json_line, naming_full_disk, read_json, read_json_lines, write_json, write_text
from training.jobs.processes import is_first_process

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOCK = ".lock"
CONFIG = "config.yaml"
ENVIRONMENT = "environment.json"
STATE = "state.json"
METRICS = "metrics.jsonl"
RESULT = "result.json"


class FolderInUseError(GenRMError, RuntimeError):
    """Another process works in this folder. Wait for it, stop it, or choose another output folder."""


class ConfigChangedError(GenRMError, ValueError):
    """A folder was started with another configuration. Take that one, or choose another output folder."""


class RunFolder:
    """One job's output, held by one process. A context manager; leaving it lets others in."""

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self.path = path
        self._writes = writes
        self._lock = FileLock(path / LOCK)
        self._board: SummaryWriter | None = None

    @classmethod
    def open(cls, output: Path, config: JobConfig) -> Self:
        """Make a folder, or go on in one that a run with the same configuration left.

        If nothing was written yet but what this function writes, another configuration may take its place. Raises
        FolderInUseError, ConfigChangedError, ConfigError if there can be no such folder, and DiskFullError.
        """
        folder = cls(output, writes=is_first_process())
        if folder._writes:
            folder._take()
            try:
                folder._record(config)
            except BaseException:
                folder.close()
                raise
        return folder

    def close(self) -> None:
        """Let other processes in. Harmless to call twice."""
        if self._board is not None:
            self._board.close()
            self._board = None
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def write_json(self, name: str, value: object) -> None:
        """Replace a file of this folder in one step."""
        if self._writes:
            write_json(self.path / name, value)

    def read_json(self, name: str) -> Any:  # noqa: ANN401 - whatever was written
        """What `write_json` wrote under this name; None if nothing was."""
        return read_json(self.path / name)

    def append_line(self, name: str, row: object) -> None:
        """Add one row to a file of JSON lines; it survives a kill from the moment that this returns."""
        if self._writes:
            append_json_line(self.path / name, row)

    def read_lines(self, name: str) -> Iterator[Any]:
        """All rows that `append_line` added under this name."""
        return read_json_lines(self.path / name)

    def is_done(self, step: str) -> bool:
        """Whether `mark_done` was called for this step, in this start or an earlier one."""
        return step in self._state()

    def mark_done(self, step: str, result: object = None) -> None:
        """Remember that a step is finished. result: JSON-ready, for `result_of`. Its files must be written before."""
        self.write_json(STATE, {**self._state(), step: result})

    def result_of(self, step: str) -> Any:  # noqa: ANN401 - whatever was remembered
        """What a finished step left for later ones. Raises KeyError if it is not done."""
        return self._state()[step]

    def log_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write figures of a training step to metrics.jsonl and TensorBoard.

        step: counts from 0 per name, so trainings that follow each other need names of their own (`round-2/loss`).
        """
        if not self._writes:
            return
        self.append_line(METRICS, {"step": step, **metrics})
        if self._board is None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self.path / "tensorboard"))
        for name, value in metrics.items():
            self._board.add_scalar(name, value, step)

    def read_metrics(self) -> dict[str, dict[int, float]]:
        """Name → step → value. A step that was logged again after a resume counts once, as it came out last."""
        series: dict[str, dict[int, float]] = {}
        for row in self.read_lines(METRICS):
            step = row.pop("step")
            for name, value in row.items():
                series.setdefault(name, {})[step] = value
        return series

    def _state(self) -> dict[str, Any]:
        return self.read_json(STATE) or {}

    def _take(self) -> None:
        try:
            with naming_full_disk(self.path):
                self.path.mkdir(parents=True, exist_ok=True)
                self._lock.acquire(blocking=False)
        except Timeout:
            raise FolderInUseError(
                f"Another process works in {self.path}. Wait until it ends, stop it, or choose another output folder."
            ) from None
        except (FileExistsError, NotADirectoryError, PermissionError) as error:
            raise ConfigError(
                f"Output folder {self.path} cannot be used: {error.strerror}. Choose another one."
            ) from None

    def _record(self, config: JobConfig) -> None:
        refuse_other_config(self.path, config)
        write_text(self.path / CONFIG, dump_config(config))
        starts = self.read_json(ENVIRONMENT) or []
        self.write_json(ENVIRONMENT, [*starts, {**describe_environment(), "seed": config.seed}])


def name_shard(start: int) -> str:
    """The name of the shard, and of its step, whose first row has this number."""
    return f"rows-{start:08}"


def wait_until_free(path: Path, *, on_wait: Callable[[], None]) -> None:
    """Return when no process works in a run folder. on_wait: called once, before waiting, if one does."""
    if not path.exists():
        return
    lock = FileLock(path / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        on_wait()
        lock.acquire()
    lock.release()


def _complete(written: Mapping[str, Any], config: JobConfig) -> Mapping[str, Any]:
    """A written configuration with defaults for keys that came after it; as it is if it is not valid any more."""
    try:
        return _dump(type(config).model_validate(written))
    except ValidationError:
        return written


def _flatten_alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both with dotted keys; a section that is empty in the one is left out if the other has keys in it."""
    flat = flatten(one), flatten(other)

    def is_section_of(key: str, keys: Mapping[str, Any]) -> bool:
        return any(each.startswith(f"{key}.") for each in keys)

    return (
        {key: value for key, value in flat[0].items() if value != {} or not is_section_of(key, flat[1])},
        {key: value for key, value in flat[1].items() if value != {} or not is_section_of(key, flat[0])},
    )


def _dump(config: JobConfig) -> dict[str, Any]:
    dumped: dict[str, Any] = parse_yaml(dump_config(config))
    return dumped


def refuse_other_config(path: Path, config: JobConfig) -> None:
    """Raise ConfigChangedError if a run folder holds work that was done with another configuration."""
    file = path / CONFIG
    if not file.exists() or all(child.name in (LOCK, CONFIG, ENVIRONMENT) for child in path.iterdir()):
        return
    old, new = _flatten_alike(_complete(read_mapping(file), config), _dump(config))
    absent = "not set"
    changed = [
        f"{key} was {old.get(key, absent)!r} and is now {new.get(key, absent)!r}"
        for key in sorted({*old, *new})
        if not any(key == name or key.startswith(f"{name}.") for name in config.harmless)
        and old.get(key, absent) != new.get(key, absent)
    ]
    if changed:
        raise ConfigChangedError(
            f"{path} was started with another configuration: {'; '.join(changed)}. Go on with the old one ({file}), "
            "choose another output folder, or delete this one."
        )
