"""Reads the files of a run into tuples; the rest of the report reads no files of runs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from infonce_jax import embeddings, registry
from infonce_jax.report import paper


class Value(NamedTuple):
    """Mean over the members of one setting, its standard error (None for one member), their count."""

    mean: float
    se: float | None
    count: int


class Key(NamedTuple):
    """What one evaluated number was computed from; `setting` is its hyperparameters as JSON."""

    setting: str
    step: int
    split: str
    representation: str
    n: int


class Setting(NamedTuple):
    """One setting of the hyperparameters: a column group of the table, a panel of every figure.

    Attributes:
        key: what `Key.setting` calls it.
        label: the hyperparameters in which it differs from the run's other settings, "temperature
            0.1"; empty for a run with one setting.
        members: names of the members (seeds) that share it.
    """

    key: str
    label: str
    members: tuple[str, ...]


class Run(NamedTuple):
    """One run folder, read.

    Attributes:
        path: the folder.
        title: what to call it in front of a reader; made of the data and the encoder where the
            configuration's own was stated for other data.
        objective: "infonce" or "supervised".
        paper: the paper's name for its data, or None; None too where it was stated for other data.
        config: config.json as it is.
        record: run.json as it is (command, machine, stages); empty where there is none.
        rates: how fast it trained, the medians of timing.jsonl; empty where there is none.
        member_names: names of the members, the second axis of every metric.
        settings: the distinct hyperparameter settings.
        values: key to {statistic: value over the members}, from evaluation.json's summary.
        members: key to {statistic: {member: value}}, from evaluation.json's rows.
        dims: key to the dimension of what was evaluated.
        epochs: evaluated step to epoch (None where the evaluation knows of none), ascending.
        metrics: logged metric to an array [lines, members], NaN where a line lacks it.
        logged: "step" and "epoch" of those lines, each [lines].
        embeddings: step to the folder with its arrays.
    """

    path: Path
    title: str
    objective: str
    paper: str | None
    config: dict[str, Any]
    record: dict[str, Any]
    rates: dict[str, float]
    member_names: tuple[str, ...]
    settings: tuple[Setting, ...]
    values: dict[Key, dict[str, Value]]
    members: dict[Key, dict[str, dict[str, float]]]
    dims: dict[Key, int]
    epochs: dict[int, float | None]
    metrics: dict[str, Float[np.ndarray, "lines members"]]
    logged: dict[str, Float[np.ndarray, " lines"]]
    embeddings: dict[int, Path]


def step_label(step: int, epoch: float | None) -> str:
    """ "untrained", "epoch 20", "epoch 2.5", or "step 500" where no epoch is known."""
    if step == 0:
        return "untrained"
    return f"step {step:,}" if epoch is None else f"epoch {epoch:.4g}"


def load_runs(
    run_dirs: Sequence[str | Path | Run],
    evaluations: Mapping[Path, dict[str, Any]] | None = None,
) -> tuple[Run, ...]:
    """Reads several run folders; see `load_run`. Runs of one title get their folder's name added.

    Runs that have been read are taken as they are, so that several tables and pages read them once.

    Args:
        run_dirs: run folders, or runs.
        evaluations: what evaluation.json holds by run folder, where it has been read already.
    """
    if isinstance(run_dirs, str | Path):
        raise TypeError(
            f"run_dirs is the single path {str(run_dirs)!r}; give a list of run folders."
        )
    if not run_dirs:
        raise ValueError("run_dirs is empty; give at least one run folder to report on.")
    if all(isinstance(run, Run) for run in run_dirs):
        return tuple(run_dirs)
    read = evaluations or {}
    runs = [load_run(Path(run_dir), read.get(Path(run_dir))) for run_dir in run_dirs]
    titles = [run.title for run in runs]
    return tuple(
        run._replace(title=f"{run.title} ({run.path.name})") if titles.count(run.title) > 1 else run
        for run in runs
    )


def load_run(run_dir: Path, evaluation: dict[str, Any] | None = None) -> Run:
    """Read one run folder.

    Only config.json and evaluation.json must be there: metrics.jsonl, run.json and embeddings/ are
    taken where they are.

    Args:
        run_dir: the run folder.
        evaluation: what evaluation.json holds, where it has been read already.

    Returns:
        The run.

    Raises:
        FileNotFoundError: where the folder, config.json or evaluation.json is missing.
        ValueError: where a file cannot be parsed or contradicts config.json.
    """
    config_path, evaluation_path = run_dir / "config.json", run_dir / "evaluation.json"
    if not config_path.is_file():
        raise FileNotFoundError(
            f"{run_dir} has no config.json, so it is not a run folder. "
            "Give the folder that a run was told as --workdir."
        )
    if not evaluation_path.is_file():
        raise FileNotFoundError(
            f"{run_dir} has no evaluation.json, from which the report takes every number. Make it "
            f"with the run's own command and --stage=evaluate: "
            f"python launch.py --config=… --workdir={run_dir} --stage=evaluate"
        )
    config = _read_json(config_path)
    if evaluation is None:
        evaluation = _read_json(evaluation_path)
    record_path = run_dir / "run.json"
    values, per_member, dims, epochs = _index(evaluation, evaluation_path)
    settings = _settings(per_member)
    member_names = tuple(
        [member["name"] for member in config.get("members", [])]
        or [name for setting in settings for name in setting.members]
    )
    strangers = {name for setting in settings for name in setting.members} - set(member_names)
    if strangers:
        raise ValueError(
            f"{evaluation_path} evaluates {', '.join(sorted(strangers))}, which config.json does not "
            f"list among its members ({', '.join(member_names)}). Rerun --stage=embed and "
            "--stage=evaluate."
        )
    metrics, logged = _read_metrics(run_dir / "metrics.jsonl", len(member_names))
    report = config.get("report") or {}
    paper.check_name(report.get("paper") or None)
    of_other_data = stated_for_other_data(config) is not None
    title = report.get("title") or config.get("name") or run_dir.name
    return Run(
        path=run_dir,
        title=_title_of_data(config) if of_other_data else title,
        objective=config.get("objective", "infonce"),
        paper=None if of_other_data else report.get("paper") or None,
        config=config,
        record=_read_json(record_path) if record_path.is_file() else {},
        rates=_read_rates(run_dir / "timing.jsonl"),
        member_names=member_names,
        settings=settings,
        values=values,
        members=per_member,
        dims=dims,
        epochs=epochs,
        metrics=metrics,
        logged=logged,
        embeddings=_find_embeddings(run_dir / "embeddings"),
    )


def stated_for_other_data(config: Mapping[str, Any]) -> str | None:
    """The source that the configuration's title and paper's row are of, where the run has another.

    A configuration file states both for its own data; `--config.data.source` can change the data.
    """
    report, own = config.get("report") or {}, (config.get("data") or {}).get("source")
    stated = report.get("source") or report.get("paper")
    return stated if stated and own and stated != own else None


def epochs_missing(run: Run) -> tuple[float, float] | None:
    """Epochs trained and epochs of the whole experiment, where the run stopped short of it."""
    full = (run.config.get("report") or {}).get("full_epochs") or 0.0
    last = run.epochs[max(run.epochs)]
    # The last step need not fill an epoch.
    short = last is not None and 0 < last < full - 0.5
    # On other data it is another experiment.
    return (last, full) if short and stated_for_other_data(run.config) is None else None


def unit_of_rows(runs: Sequence[Run]) -> str:
    """What a row of the data of these runs is: "images", "vectors", or "rows" where that is unknown."""
    kinds = set()
    for run in runs:
        source = (run.config.get("data") or {}).get("source")
        is_stored = (source or "").partition(":")[0] in ("cifar10", *registry.DATASETS)
        if is_stored or (run.config.get("channel") or {}).get("name") == "simclr":
            kinds.add("images")
        else:
            kinds.add("rows" if source in (None, "array") else "vectors")
    return kinds.pop() if len(kinds) == 1 else "rows"


_ENCODERS = {"linear": "linear", "mlp": "MLP", "vit": "ViT"}


def _title_of_data(config: Mapping[str, Any]) -> str:
    settings, encoder = config["data"], (config.get("encoder") or {}).get("name", "")
    rows = Path(settings.get("path") or "").name or registry.short_name(settings["source"])
    encoder = registry.short_name(encoder)
    encoder = _ENCODERS.get(encoder, encoder.replace("resnet", "ResNet-"))
    return ", ".join(filter(None, [rows, encoder]))


def pick_split(run: Run) -> str:
    """The split to show: "test" where it was evaluated, else the first that is not "train"."""
    splits = sorted({key.split for key in run.values}, key=lambda s: (s != "test", s == "train", s))
    return splits[0]


def pick_steps(run: Run) -> tuple[int, ...]:
    """Evaluated steps to show: the first, the last, and those at an epoch the paper reports."""
    steps = list(run.epochs)
    at_paper_epoch: dict[int, int] = {}
    for step, epoch in run.epochs.items():
        match = paper.matching_epoch(run.paper, run.objective, epoch)
        if match is not None:
            at_paper_epoch.setdefault(match, step)
    return tuple(sorted({steps[0], steps[-1], *at_paper_epoch.values()}))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is not valid JSON ({error}); rerun the stage that wrote it."
        ) from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__} where an object is expected.")
    return content


def _settings(per_member: dict[Key, dict[str, dict[str, float]]]) -> tuple[Setting, ...]:
    members: dict[str, dict[str, None]] = {}
    for key, statistics in per_member.items():
        names = members.setdefault(key.setting, {})
        names.update(dict.fromkeys(name for values in statistics.values() for name in values))
    hyperparameters = {key: json.loads(key) for key in members}
    return tuple(
        Setting(key, _label(hyperparameters[key], list(hyperparameters.values())), tuple(names))
        for key, names in members.items()
    )


def _label(own: dict[str, Any], all_of_them: Sequence[dict[str, Any]]) -> str:
    varied = [name for name in own if any(other.get(name) != own[name] for other in all_of_them)]
    return ", ".join(
        f"{name.rsplit('.', 1)[-1].replace('_', ' ')} "
        + (f"{own[name]:g}" if isinstance(own[name], float) else str(own[name]))
        for name in varied
    )


def _index(evaluation: dict[str, Any], path: Path):
    if not evaluation.get("summary"):
        raise ValueError(f"{path} has an empty summary; rerun the stage: --stage=evaluate.")
    values: dict[Key, dict[str, Value]] = {}
    members: dict[Key, dict[str, dict[str, float]]] = {}
    dims: dict[Key, int] = {}
    epochs: dict[int, float | None] = {}
    for entry in evaluation["summary"]:
        key = _key(entry)
        dims[key] = entry["dim"]
        epochs.setdefault(key.step, entry["epoch"])
        if entry["mean"] is not None:
            value = Value(entry["mean"], entry["standard_error"], entry["count"])
            values.setdefault(key, {})[entry["statistic"]] = value
    for row in evaluation.get("rows", []):
        if row["value"] is not None:
            statistics = members.setdefault(_key(row), {})
            statistics.setdefault(row["statistic"], {})[row["member"]] = row["value"]
    return values, members, dims, dict(sorted(epochs.items()))


def _key(entry: dict[str, Any]) -> Key:
    return Key(
        setting=entry["hyperparameters"] or "{}",
        step=int(entry["step"]),
        split=entry["split"],
        representation=entry["representation"],
        n=int(entry["n"]),
    )


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file with one on each line; none where there is no file."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number == len(lines):  # a run killed while writing leaves a torn last line
                break
            raise ValueError(f"{path}, line {number}, is not valid JSON ({error}).") from None
    return records


def _read_rates(path: Path) -> dict[str, float]:
    """The medians of timing.jsonl."""
    records = _read_lines(path)
    names = [name for record in records[:1] for name in record if name != "step"]
    return {name: float(np.median([r[name] for r in records if name in r])) for name in names}


def _read_metrics(path: Path, member_count: int):
    records = _read_lines(path)
    if not records:
        return {}, {}
    names = [
        name for record in records for name, value in record.items() if isinstance(value, list)
    ]
    metrics = {}
    for name in dict.fromkeys(names):
        table = np.full((len(records), member_count), np.nan)
        for row, record in zip(table, records, strict=True):
            if name not in record:
                continue
            if len(record[name]) != member_count:
                raise ValueError(
                    f"{path}: {name} at step {record.get('step')} has {len(record[name])} values, but "
                    f"config.json lists {member_count} members. The folder mixes two runs; train in "
                    "a fresh --workdir."
                )
            row[:] = [np.nan if value is None else value for value in record[name]]
        metrics[name] = table
    logged = {
        axis: np.array([float(record.get(axis, np.nan)) for record in records])
        for axis in ("step", "epoch")
    }
    return metrics, logged


def _find_embeddings(folder: Path) -> dict[int, Path]:
    if not folder.is_dir():
        return {}
    return {int(step_dir.name): step_dir for step_dir in embeddings.find_steps(folder)}
