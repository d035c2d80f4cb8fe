"""Temperatures that turn a judge's log-odds into probabilities that come true.

A judge's log-odds, averaged over both orders, are divided by a temperature T > 0 that was fitted on labelled pairs
(`vl-genrm calibrate`): T > 1 makes an overconfident judge humbler. Who is preferred never changes, and mirrored
comparisons stay mirrored, as a division is odd. There is one temperature per mode, because a critique makes a judge
surer.

Where what vision experts found is added to the log-odds (`experts` is `combine`), a second temperature and the weight
of the evidence belong together and are fitted together; unfitted, the judge's own temperature and a weight of 1.

The file `calibration.json` lies beside the adapter, or the model where there is none; without it T is 1. It holds for
the prompt and the weights it was fitted with, and is left aside, with a warning, under another prompt or beside other
weights. A file that names no weights, as those of earlier versions, holds for any.
"""

import json
import logging
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol, get_args, runtime_checkable

from genrm.errors import ModelLoadError
from genrm.fingerprints import fingerprint_weights
from genrm.prompts import PROMPT_VERSION
from genrm.types import Mode

CALIBRATION_FILE = "calibration.json"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """Log-odds of a verdict = the judge's / temperature + evidence_weight × the evidence's, if that is added at all."""

    temperature: float = 1.0
    evidence_weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """Temperatures by mode; 1 where there is none. Raises ValueError for one that is not above 0.

    combined: by mode, the scale under which evidence is added. Its weight may be 0: experts that say nothing.
    """

    temperatures: Mapping[Mode, float] = field(default_factory=dict)
    combined: Mapping[Mode, Scale] = field(default_factory=dict)

    def __post_init__(self) -> None:
        scales = [*self.combined.items(), *((mode, Scale(temperature=t)) for mode, t in self.temperatures.items())]
        for mode, scale in scales:
            if mode not in get_args(Mode) or not (math.isfinite(scale.temperature) and scale.temperature > 0):
                raise ValueError(
                    f"The temperature of mode {mode!r} is {scale.temperature!r}; it must be a number above 0."
                )
            if not (math.isfinite(scale.evidence_weight) and scale.evidence_weight >= 0):
                raise ValueError(
                    f"The evidence weight of mode {mode!r} is {scale.evidence_weight!r}; it must be 0 or above."
                )

    def scale(self, mode: Mode, *, with_evidence: bool = False) -> Scale:
        """How log-odds of this mode become a verdict's. with_evidence: whether evidence is added."""
        alone = Scale(temperature=self.temperatures.get(mode, 1.0))
        return self.combined.get(mode, alone) if with_evidence else alone


UNCALIBRATED = Calibration()


@runtime_checkable
class LocalEngine(Protocol):
    """An engine that knows where its weights lie."""

    @property
    def weights(self) -> str:
        """Folder or hub id of the adapter, or of the model where there is none."""


def find_calibration(engine: object) -> Calibration:
    """The calibration that lies beside an engine's weights; `UNCALIBRATED` if its model runs elsewhere. Raises
    ModelLoadError if the file cannot be read as one.
    """
    return read_calibration(engine.weights) if isinstance(engine, LocalEngine) else UNCALIBRATED


def read_calibration(folder: str | Path) -> Calibration:
    """What `calibration.json` in an adapter's or model's folder says; `UNCALIBRATED` without one, as for a hub id, and
    if it was fitted for another prompt or other weights than those that lie there.

    Raises ModelLoadError if the file cannot be read as one.
    """
    folder = Path(folder).expanduser()
    return _read(folder / CALIBRATION_FILE, weights=lambda: fingerprint_weights(folder))


def _read(path: Path, *, weights: Callable[[], str]) -> Calibration:
    """weights: the fingerprint of those that it should be for, asked for if there is a file; empty if unknown."""
    if not path.is_file():
        return UNCALIBRATED
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        calibration = Calibration(
            {mode: float(value) for mode, value in record["temperatures"].items()},
            {
                mode: Scale(temperature=float(each["temperature"]), evidence_weight=float(each["evidence_weight"]))
                for mode, each in record.get("combined", {}).items()
            },
        )
        fitted_for, fitted_weights = record["prompt_version"], record.get("weights")
        present_weights = weights()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelLoadError(
            f"{path} is no calibration ({error}). Write it anew with vl-genrm calibrate, or remove it."
        ) from error
    if fitted_for != PROMPT_VERSION:
        _log.warning(
            "%s was fitted for prompt version %s and is not used with %s; run vl-genrm calibrate again.",
            path,
            fitted_for,
            PROMPT_VERSION,
        )
        return UNCALIBRATED
    if fitted_weights and present_weights and fitted_weights != present_weights:
        _log.warning(
            "%s was fitted for weights with the fingerprint %s and is not used with these, %s; run vl-genrm calibrate "
            "again, or remove it.",
            path,
            fitted_weights,
            present_weights,
        )
        return UNCALIBRATED
    return calibration


def write_calibration(
    folder: Path,
    temperatures: Mapping[Mode, float],
    combined: Mapping[Mode, Scale] | None = None,
    *,
    weights: str = "",
    notes: Mapping[str, object],
) -> Path:
    """Write what was fitted beside a model, keeping what else is there for the same prompt and weights.

    weights: fingerprint (`genrm.fingerprints`) of the adapter, or the model where there is none; empty if unknown.
    notes: what it rests on, for readers. What was there and cannot be read is replaced, with a warning. A kill leaves
    the old file or the new one. Returns the file's path.
    """
    path = folder / CALIBRATION_FILE
    try:
        known = _read(path, weights=lambda: weights)
    except ModelLoadError as error:
        _log.warning("A broken file is replaced: %s", error)
        known = UNCALIBRATED
    merged = Calibration({**known.temperatures, **temperatures}, {**known.combined, **(combined or {})})
    record: dict[str, object] = {"prompt_version": PROMPT_VERSION, "temperatures": dict(merged.temperatures)}
    if weights:
        record["weights"] = weights
    if merged.combined:
        record["combined"] = {mode: asdict(scale) for mode, scale in merged.combined.items()}
    record["notes"] = dict(notes)
    _replace(path, json.dumps(record, indent=2) + "\n")
    return path


def _replace(path: Path, text: str) -> None:
    """Put a text file in its place in one step."""
    new = path.with_name(f".new-{path.name}")
    try:
        with new.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
