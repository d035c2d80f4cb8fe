"""A Ray cluster to work on: one that is started here and stopped again, or one that runs, by its address.

What is foreseen is an error that says what to do: no Ray, no cluster at that address, no machine that is large enough.
What runs on the cluster is not this module's business.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import Field

from genrm.errors import GenRMError
from training.jobs.config import Section

CONNECT_SECONDS = 30.0
"""How long a cluster may take to answer."""
_MEMORY_BYTES = 128 * 2**20
"""Of the object store of a cluster that is started here: only numbers of rows and counts go through it."""


class ClusterError(GenRMError, RuntimeError):
    """There is no Ray cluster to work on, it is too small, or it was lost. Do as the message says and run it again."""


class RayOptions(Section):
    """Where actors run and what each of them gets. None: what fits.

    gpus_per_actor: a share of one GPU, or whole ones; by default 1 where a judge is loaded and there are GPUs.
    """

    address: str | None = Field(None, description="HOST:PORT of a cluster's head, or auto; None starts one here.")
    actors: int | None = Field(None, ge=1)
    cpus_per_actor: float = Field(1.0, ge=0)
    gpus_per_actor: float | None = Field(None, ge=0)


class Demand(Section):
    """What one actor gets."""

    cpus: float
    gpus: float


@contextmanager
def open_cluster(address: str | None, *, connect_seconds: float = CONNECT_SECONDS) -> Iterator[None]:
    """A connection to a cluster for the time of the block; without an address, to one that lives as long as the block.

    A connection that this process has already is taken, and left open. Raises ClusterError.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to Ray's makers
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # as later versions of Ray; this one warns of it
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what concerns the user comes as an exception
    try:
        import ray
    except ModuleNotFoundError:
        raise ClusterError(
            "--runner ray needs Ray, which is not installed. Say pip install 'vl-genrm[train,ray]', or use --runner "
            "local."
        ) from None
    if address is None and ray.is_initialized():
        yield
        return
    if address is not None:
        _check_reachable(address, connect_seconds)
    where: dict[str, Any] = (
        {"address": "local", "include_dashboard": False, "object_store_memory": _MEMORY_BYTES}
        if address is None
        else {"address": address}
    )
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**where, log_to_driver=False, logging_level="ERROR")
    except (RuntimeError, OSError, ValueError) as error:  # ConnectionError and TimeoutError are OSErrors
        raise ClusterError(
            f"{_name(address)} cannot be used ({type(error).__name__}: {error}). A command that uses a cluster by "
            "address runs on one of its machines, with the same versions of Python and Ray."
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_terminate)  # Ray puts its own in its place
    try:
        yield
    finally:
        ray.shutdown()


def choose_demand(options: RayOptions, nodes: Sequence[Mapping[str, float]], *, loads_model: bool) -> Demand:
    """What each actor gets. nodes: what `list_nodes` says. Raises ClusterError if no machine has that much."""
    gpus = options.gpus_per_actor
    if gpus is None:
        gpus = 1.0 if loads_model and any(node.get("GPU", 0) >= 1 for node in nodes) else 0.0
    demand = Demand(cpus=options.cpus_per_actor, gpus=gpus)
    if not count_fitting(demand, nodes):
        has = "; ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes) or "nothing"
        raise ClusterError(
            f"An actor asks for {demand.cpus:g} CPUs and {demand.gpus:g} GPUs, and no machine of "
            f"{_name(options.address)} has that much (they have: {has}). Lower --cpus-per-actor or --gpus-per-actor, "
            "or use a larger cluster."
        )
    return demand


def count_fitting(demand: Demand, nodes: Sequence[Mapping[str, float]]) -> int:
    """How many actors fit on all machines together, nothing else running."""
    wanted = [(amount, name) for amount, name in ((demand.cpus, "CPU"), (demand.gpus, "GPU")) if amount]
    if not wanted:
        return sum(max(1, int(node.get("CPU", 0))) for node in nodes)
    return sum(min(int(node.get(name, 0) / amount + 1e-9) for amount, name in wanted) for node in nodes)


def list_nodes() -> list[dict[str, float]]:
    """The resources of each machine of the cluster that this process is connected to, by Ray's names of them."""
    import ray

    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def _check_reachable(address: str, connect_seconds: float) -> None:
    """Raise ClusterError unless a cluster answers in time.

    Asked by a process of its own: against an address where something else answers, or nothing, Ray's client may wait
    without an end, or end the process.
    """
    if "://" in address:
        raise ClusterError(
            f"--ray-address {address} is a URL; give HOST:PORT of the cluster's head (port 6379 unless set otherwise), "
            "or auto on one of its machines."
        )
    command = (sys.executable, "-m", "ray.scripts.scripts", "health-check", "--skip-version-check")
    try:
        if address != "auto":
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=connect_seconds).close()
        answer = subprocess.run(  # noqa: S603 - our own words; the address is one argument
            (*command, "--address", address), capture_output=True, check=False, timeout=connect_seconds
        )
        is_there = answer.returncode == 0
    except (subprocess.TimeoutExpired, OSError, OverflowError):
        is_there = False
    except ValueError:
        raise ClusterError(f"--ray-address is {address!r}; give HOST:PORT, for instance head:6379, or auto.") from None
    if not is_there:
        raise ClusterError(
            f"{_name(address)} does not answer within {connect_seconds:.0f} s. Check the address and that the cluster "
            "runs (ray status), or leave --ray-address out: then one is started on this machine."
        )


def _name(address: str | None) -> str:
    return "the cluster on this machine" if address is None else f"the Ray cluster at {address}"
