"""A run's folder: its configuration, its finished stages, and the lock of the process that uses it."""

import contextlib
import fcntl
import hashlib
import json
import platform
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import config_dict

from infonce_jax import data, embeddings, evaluation, registry, training
from infonce_jax.config import (
    code,
    config_hash,
    difference,
    from_plain,
    identity,
    members,
    own_parts,
    plain,
    resolved,
    validate,
)
from infonce_jax.files import flatten, write_json
from infonce_jax.runs import processes
from infonce_jax.runs.online import check_held_out
from infonce_jax.runs.provenance import machine

# How long a folder that one host has written may take to be seen on another.
_VISIBLE_S = 20
# The fields that may change when a run is trained for longer.
_LENGTH = ("train.steps", "train.epochs", "embed.steps", "embed.epochs")


class Busy(ValueError):
    """Another process is working on the folder."""


def check(config: config_dict.ConfigDict) -> None:
    """Checks what can be checked before any data are read.

    Raises:
        ValueError: naming the field, its value, and what it may be.
    """
    validate(config)
    training.check_parts(config)
    check_held_out(config.log.held_out, config.log.held_out_rows)
    evaluation.own_statistics(config.evaluate.statistics, config.evaluate.kwargs.to_dict())


def claim(config: config_dict.ConfigDict, workdir: Path) -> None:
    """Writes config.json, or checks that the one there asks for the same training, or for less of it.

    Raises:
        ValueError: where the folder belongs to another configuration, and nothing is changed then, or
            where other processes of the run do not see it.
    """
    processes.first(lambda: _claim(config, workdir))
    with processes.together():
        deadline = time.monotonic() + _VISIBLE_S
        while not (workdir / "config.json").exists():
            if time.monotonic() > deadline:
                raise ValueError(
                    f"{workdir.resolve()} of {platform.node()} is not the folder that the first process "
                    "has written to. Choose a --workdir that all hosts share."
                )
            time.sleep(0.1)


def _claim(config: config_dict.ConfigDict, workdir: Path) -> None:
    spec = data.describe(config)
    runs = members(config)
    file = workdir / "config.json"
    if file.exists():
        try:
            # A field missing from the file was added after the run, which used its default.
            content = json.loads(file.read_text())
            theirs = plain(from_plain(content)) | {"code": content.get("code", {})}
        except ValueError:
            raise ValueError(
                f"{file} is not valid JSON. Delete {workdir} or choose another --workdir."
            ) from None
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{file} is not a configuration that this version knows ({error}). Continue the run "
                f"with the version that began it (run.json names it), or choose another --workdir."
            ) from None
        if embeddings.find_steps(workdir):
            _check_code(config, theirs["code"], workdir)
        else:
            # Nothing is computed yet, so code that was at fault may have been mended.
            theirs["code"] = code(config)
        changed = difference(identity(resolved(config)), identity(theirs))
        if changed:
            _check_longer(config, changed, workdir)
    elif workdir.is_dir() and any(not f.name.startswith(".") for f in workdir.iterdir()):
        raise ValueError(
            f"{workdir} is not empty and holds no config.json, so it is not a run. Choose another "
            "--workdir."
        )
    content = {
        **resolved(config),
        "config_hash": config_hash(config),
        "total_steps": training.total_steps(config, spec),
        "steps_per_epoch": training.steps_per_epoch(config, spec),
        "members": [member.record() for member in runs],
    }
    if own_parts(config):
        folders = {registry.folder_of(*part) for part in own_parts(config)} - {None}
        content["code_folders"] = sorted(map(str, folders))
    workdir.mkdir(parents=True, exist_ok=True)
    write_json(file, content)


def _check_longer(config: config_dict.ConfigDict, changed: list[str], workdir: Path) -> None:
    """Refuses to continue a run with another configuration, unless only its length is another.

    What a step computes does not depend on how many follow, unless a schedule says so.
    """
    reason = ""
    if all(line.partition(":")[0] in _LENGTH for line in changed):
        total = training.total_steps(config, data.describe(config))
        done = max(
            (int(p.name) for p in (workdir / "checkpoints").glob("*") if p.name.isdecimal()),
            default=0,
        )
        schedules = ("optimizer.schedule", "loss.beta_schedule")
        asked = flatten(plain(config))
        falling = [name for name in schedules if asked[name] != "constant"]
        if falling:
            reason = (
                f" It cannot be trained for longer, as config.{falling[0]} = {asked[falling[0]]!r} "
                "depends on its length."
            )
        elif total < done:
            reason = f" It is at step {done} and can be trained for longer, not for {total} steps."
        else:
            return
    shown = "; ".join(changed[:5]) + ("; ..." if len(changed) > 5 else "")
    raise ValueError(
        f"{workdir} holds a run of another configuration ({shown}).{reason} Choose another --workdir, "
        "or delete that folder to start over."
    )


def _check_code(config: config_dict.ConfigDict, theirs: Mapping[str, str], workdir: Path) -> None:
    """Refuses to continue a run with other code of the user's than it began with."""
    for part, now in code(config).items():
        field, name = part.split(" ")
        if not field.startswith("evaluate.") and theirs.get(part, now) != now:
            raise ValueError(
                f"{workdir} holds a run with another version of config.{field} = {name!r}: "
                f"{registry.file_of(field, name)}, or a file of yours that it imports, has changed. "
                "Restore it to continue the run, choose another --workdir, or delete that folder to "
                "start over."
            )


def is_finished(config: config_dict.ConfigDict, workdir: Path, stages: Sequence[str]) -> bool:
    """Whether stages were carried out for this configuration, and their result is there."""
    if "evaluate" in stages and not (workdir / "evaluation.json").exists():
        return False
    done = read_record(workdir)["stages"]
    return all(
        done.get(stage, {}).get("fingerprint") == _fingerprint(config, stage) for stage in stages
    )


@contextlib.contextmanager
def lock(workdir: Path, *, wait: bool = False) -> Iterator[None]:
    """Keeps others out of the folder. The system releases the lock of a killed process.

    Where a run has several processes, the first one holds the lock for all.

    Args:
        workdir: the folder.
        wait: wait for the lock.

    Raises:
        Busy: where another process holds the lock, and this one does not wait.
    """
    with contextlib.ExitStack() as stack:

        def acquire() -> bool:
            file = stack.enter_context(open(workdir / ".lock", "w"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                return False
            return True

        if not processes.first(acquire):
            raise Busy(
                f"{workdir} is being worked on by another process. Wait for it, or choose another "
                "--workdir."
            )
        yield


def record(
    config: config_dict.ConfigDict,
    workdir: Path,
    stage: str,
    wall_s: float,
    command: str,
    *,
    is_done: bool = True,
) -> None:
    """Adds a stage's seconds and what it was done for, the machine and the command to run.json.

    Training and embedding go on from what is there, so their seconds add up over commands; those of a
    killed one are lost. The other stages are done anew by every command.
    """
    content = read_record(workdir)
    content["machine"] = machine()
    content["command"] = command or shlex.join(sys.argv)
    if stage in ("train", "embed"):
        wall_s += content["stages"].get(stage, {}).get("wall_s", 0)
    content["stages"][stage] = {
        "wall_s": round(wall_s, 2),
        "fingerprint": _fingerprint(config, stage) if is_done else "",
    }
    write_json(workdir / "run.json", content)


def read_record(workdir: Path) -> dict[str, Any]:
    """What run.json holds; no stages where there is none, or none that can be read."""
    content: dict[str, Any] = {}
    with contextlib.suppress(FileNotFoundError, ValueError):
        content = json.loads((workdir / "run.json").read_text())
    return {**content, "stages": content.get("stages", {})}


def _fingerprint(config: config_dict.ConfigDict, stage: str) -> str:
    """What decides the result of a stage, as a short hash."""
    if stage in ("train", "embed"):
        return config_hash(config)
    settings = json.dumps([plain(config)[stage], code(config)], sort_keys=True)
    return hashlib.sha256(f"{config_hash(config)} {settings}".encode()).hexdigest()[:16]
