"""Where the metrics of a run go: files, a terminal, TensorBoard, Weights & Biases."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from jaxtyping import Float
from ml_collections import config_dict
from tqdm import tqdm

from infonce_jax.config import Member, config_hash, plain
from infonce_jax.files import replacing
from infonce_jax.runs import processes

# Each metric's value for every member.
Metrics = Mapping[str, Float[np.ndarray, " members"]]

_SHOWN = ("loss", "alignment", "uniformity", "accuracy")


def say(text: str) -> None:
    """Prints a line to the first process's terminal, above the progress bars if there are any."""
    if processes.is_first():
        tqdm.write(text, file=sys.stderr)


class Writers:
    """Everything that one run writes its metrics to; close it at the end."""

    def __init__(
        self,
        config: config_dict.ConfigDict,
        workdir: Path,
        members: Sequence[Member],
        total_steps: int,
        first_step: int,
    ):
        """Opens the writers that the configuration asks for, to go on after `first_step`.

        Raises:
            ValueError: where one needs a package that is not installed.
        """
        self._others = _open_writers(config, workdir, members)
        self._file = MetricsFile(workdir, first_step)
        self._terminal = Terminal(config.name, total_steps, first_step)

    def log(self, step: int, epoch: float, metrics: Metrics, timing: Mapping[str, float]) -> None:
        """Writes the metrics of a logging step everywhere.

        Args:
            step: optimiser steps taken.
            epoch: the same in epochs.
            metrics: means since the last logging step.
            timing: rates, of which "steps_per_s" is shown.
        """
        line = {"step": step, "epoch": epoch}
        line |= {name: values.tolist() for name, values in metrics.items()}
        self._file.write(line, {"step": step, **timing})
        for writer in self._others:
            writer.write(step, metrics)
        self._terminal.show(step, metrics, timing["steps_per_s"])

    def advance(self, step: int) -> None:
        """Moves the progress bar."""
        self._terminal.advance(step)

    def say(self, text: str) -> None:
        """Prints a line above the progress bar."""
        self._terminal.say(text)

    def close(self) -> None:
        for writer in (*self._others, self._terminal, self._file):
            writer.close()


class Silent:
    """In place of `Writers` on all processes but the first."""

    def log(self, step: int, epoch: float, metrics: Metrics, timing: Mapping[str, float]) -> None:
        pass

    def advance(self, step: int) -> None:
        pass

    def say(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


def open_writers(
    config: config_dict.ConfigDict,
    workdir: Path,
    members: Sequence[Member],
    total_steps: int,
    first_step: int,
) -> Writers | Silent:
    """The writers of this process; arguments and errors as `Writers`."""
    with processes.together():
        if processes.is_first():
            return Writers(config, workdir, members, total_steps, first_step)
        return Silent()


class MetricsFile:
    """metrics.jsonl: one line per logging step, every metric a list over members.

    Holds nothing that depends on the clock, so that a resumed run writes the same bytes as one that
    was never stopped; rates go to timing.jsonl beside it.
    """

    def __init__(self, workdir: Path, resume_step: int):
        """Opens both files, dropping lines past `resume_step` and a half-written last one."""
        self._files = []
        for name in ("metrics.jsonl", "timing.jsonl"):
            _truncate(workdir / name, resume_step)
            self._files.append((workdir / name).open("a"))

    def write(self, line: dict[str, Any], timing: dict[str, Any]) -> None:
        for file, content in zip(self._files, (line, timing), strict=True):
            file.write(json.dumps(content) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        for file in self._files:
            file.close()


class Terminal:
    """A progress bar on a terminal, plain lines elsewhere."""

    def __init__(
        self, description: str, total_steps: int, first_step: int, stream: TextIO | None = None
    ):
        self._stream = stream or sys.stderr
        self._description = description
        self._total_steps = total_steps
        self._bar = None
        if self._stream.isatty():
            self._bar = tqdm(
                desc=description,
                # Below a sweep's bar, remove this bar when the run is done; alone, keep it.
                leave=None,
                total=total_steps,
                initial=first_step,
                unit="step",
                file=self._stream,
                dynamic_ncols=True,
            )

    def advance(self, step: int) -> None:
        if self._bar is not None:
            self._bar.update(step - self._bar.n)

    def show(self, step: int, metrics: Metrics, steps_per_s: float) -> None:
        """Shows the mean over members of the metrics worth watching."""
        means = {name: float(np.mean(metrics[name])) for name in _SHOWN if name in metrics}
        if self._bar is not None:
            self._bar.set_postfix({name: f"{value:.3f}" for name, value in means.items()})
            return
        shown = "  ".join(f"{name} {value:.4f}" for name, value in means.items())
        self.say(
            f"{self._description}  step {step}/{self._total_steps}  {shown}  "
            f"{steps_per_s:.1f} steps/s"
        )

    def say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


class TensorBoard:
    """TensorBoard scalars, one folder per member, without TensorFlow."""

    def __init__(self, workdir: Path, member_names: Sequence[str]):
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise ValueError(
                "config.log.tensorboard is set but tensorboardX is not installed; run "
                "`pip install tensorboardX` or leave it off."
            ) from None
        root = workdir / "tensorboard"
        self._writers = [SummaryWriter(str(root / name)) for name in member_names]

    def write(self, step: int, metrics: Metrics) -> None:
        for name, values in metrics.items():
            for writer, value in zip(self._writers, values, strict=True):
                writer.add_scalar(name, float(value), step)

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


class WandB:
    """One Weights & Biases run, with a series per member and metric."""

    def __init__(
        self,
        workdir: Path,
        member_names: Sequence[str],
        *,
        project: str,
        name: str,
        run_id: str,
        config: dict[str, Any],
    ):
        try:
            import wandb
        except ImportError:
            raise ValueError(
                "config.log.wandb is set but wandb is not installed; run `pip install wandb` or leave "
                "it off."
            ) from None
        self._members = member_names
        # The same id on a resumed run continues its series instead of starting others.
        self._run = wandb.init(
            dir=str(workdir), project=project, name=name, id=run_id, resume="allow", config=config
        )

    def write(self, step: int, metrics: Metrics) -> None:
        self._run.log(
            {
                f"{metric}/{member}": float(value)
                for metric, values in metrics.items()
                for member, value in zip(self._members, values, strict=True)
            },
            step=step,
        )

    def close(self) -> None:
        self._run.finish()


def _open_writers(config: config_dict.ConfigDict, workdir: Path, members: Sequence[Member]) -> list:
    names = [member.name for member in members]
    writers = []
    if config.log.tensorboard:
        writers.append(TensorBoard(workdir, names))
    if config.log.wandb:
        writers.append(
            WandB(
                workdir,
                names,
                project=config.log.wandb_project,
                name=config.name,
                run_id=f"{config.name}-{config_hash(config)}",
                config=plain(config),
            )
        )
    return writers


def _truncate(path: Path, last_step: int) -> None:
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] > last_step:
                break
        except (ValueError, KeyError):
            # A kill can leave half a line at the end.
            break
        kept.append(line + "\n")
    with replacing(path) as scratch:
        scratch.write_text("".join(kept))
