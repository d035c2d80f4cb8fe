"""Watches a training of transformers' Trainer: logs its figures, and stops it when they are no numbers any more."""

import math
from pathlib import Path

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from genrm.errors import GenRMError
from training.jobs.run_folder import RunFolder


class TrainingDivergedError(GenRMError, ArithmeticError):
    """The loss or the gradient is no finite number. Look at the data of the steps before the one it names, or lower
    the learning rate in another output folder; this one goes on with the rate that it was started with.

    checkpoint: the last one that was saved before, None if there is none.
    """

    def __init__(self, message: str, *, step: int, checkpoint: Path | None) -> None:
        super().__init__(message)
        self.step = step
        self.checkpoint = checkpoint


class TrainingWatch(TrainerCallback):
    """Logs to a run folder, and raises TrainingDivergedError before a spoilt checkpoint is saved.

    prefix: put before every name, so that trainings in one folder do not mix, e.g. `round-2/`.
    """

    def __init__(self, folder: RunFolder, *, prefix: str = "") -> None:
        self._folder, self._prefix = folder, prefix

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Have losses logged as they are; the trainer's default leaves out those that are no numbers."""
        args.logging_nan_inf_filter = False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Log before every save: the mean loss since the last log covers all steps that the checkpoint has seen."""
        control.should_log |= control.should_save

    on_epoch_end = on_step_end

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: object,
    ) -> None:
        """Pass the figures on, then look at them."""
        logs = logs or {}
        if state.is_world_process_zero:
            self._folder.log_metrics(
                state.global_step, {f"{self._prefix}{name}": value for name, value in logs.items()}
            )
        watched = ("loss",) if args.fp16 else ("loss", "grad_norm")  # in fp16 the scaler skips steps that overflow
        spoilt = [name for name in watched if not math.isfinite(logs.get(name, 0.0))]
        if spoilt:
            found = get_last_checkpoint(args.output_dir)
            raise TrainingDivergedError(
                f"At step {state.global_step} {' and '.join(spoilt)} became {logs[spoilt[0]]}. "
                + (f"The last good checkpoint is {found}. " if found else "No checkpoint was saved before. ")
                + "Look at the data of the steps before, or lower the learning rate and name another output folder: "
                "this one goes on with the rate that it was started with.",
                step=state.global_step,
                checkpoint=None if found is None else Path(found),
            )
