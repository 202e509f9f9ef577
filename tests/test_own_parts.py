"""Parts of the user's own, named as `my_module:name` from a folder outside the package."""

import json
import sys

import numpy as np
import pytest

from infonce_jax import data, registry, training
from infonce_jax.config import default_config, members
from infonce_jax.runs import encode
from infonce_jax.runs.folder import check, claim
from tests import own_parts
from tests.conftest import make_tiny_config


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    return own_parts.write(tmp_path_factory.mktemp("mine"))


@pytest.fixture(scope="module")
def run(mine, launch):
    workdir = mine.parent / "run"
    launch(f"--config={mine}", f"--workdir={workdir}", check=True)
    return workdir


def test_a_run_uses_parts_by_name_and_reports_them_by_name(run):
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {"loss", "largest", "alignment", "regulariser"} <= set(metrics[-1])
    rows = json.loads((run / "evaluation.json").read_text())["rows"]
    found = {(row["statistic"], row["representation"]): row["value"] for row in rows}
    assert found["spread_classes", "raw"] == 3 and found["spread_mean", "raw"] > 0
    manifest = json.loads(next(run.glob("embeddings/4/*.json")).read_text())
    assert manifest["dataset"] == "rings"
    page = (run / "report.html").read_text()
    assert '<th scope="row">spread_mean<' in page


def test_its_encoders_are_found_again_without_the_config_file(run, monkeypatch):
    monkeypatch.setattr(registry, "_folders", [])
    for name in ("my_parts", "my_helpers"):
        sys.modules.pop(name, None)
    z = encode(run, np.ones((5, 6), np.float32))["seed0"]
    assert z.shape == (5, 4) and np.isfinite(z).all()


def test_changed_code_is_refused_and_a_changed_statistic_is_not(mine, run, launch):
    helpers = mine.parent / "my_helpers.py"
    helpers.write_text(own_parts.HELPERS.replace("keepdims=True)", "keepdims=True) * 2"))
    try:
        refused = launch(f"--config={mine}", f"--workdir={run}")
    finally:
        helpers.write_text(own_parts.HELPERS)
    assert refused.returncode == 2
    assert "another version of config.data.source = 'my_parts:rings'" in refused.stderr
    assert "has changed" in refused.stderr and "Restore it" in refused.stderr


def test_code_that_was_at_fault_may_be_mended_before_anything_is_computed(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_folders", [])
    registry.search_in(tmp_path)
    (tmp_path / "mended_parts.py").write_text("def loss(z1): return 0.0\n")
    config = make_tiny_config()
    config.objective = "mended_parts:loss"
    claim(config, tmp_path / "run")
    with pytest.raises(ValueError, match="does not fit"):
        check(config)
    (tmp_path / "mended_parts.py").write_text("def loss(z1, z2): return 0.0\n")
    claim(config, tmp_path / "run")
    (tmp_path / "run" / "embeddings" / "0").mkdir(parents=True)
    (tmp_path / "run" / "embeddings" / "0" / "manifest.json").write_text("{}")
    (tmp_path / "mended_parts.py").write_text("def loss(z1, z2): return 1.0\n")
    with pytest.raises(ValueError, match="has changed"):
        claim(config, tmp_path / "run")


def test_a_sweep_uses_them_and_flags_set_their_arguments(mine, launch):
    workdir = mine.parent / "family"
    launch(
        f"--config={mine.parent / 'family.py'}",
        f"--workdir={workdir}",
        "--config.evaluate.kwargs={'spread': {'power': 2}}",
        "--config.loss.kwargs={'slack': 0.5}",
        "--config.objective=my_parts:margin",
        check=True,
    )
    table = (workdir / "sweep.csv").read_text().splitlines()
    assert len(table) == 3 and "raw.spread_mean" in table[0]
    config = json.loads((workdir / "embedding_dim=3" / "config.json").read_text())
    assert config["loss"]["kwargs"] == {"slack": 0.5}


WRONG = """\
import jax.numpy as jnp
import flax.linen as nn
from flax import nnx

def source(key, n, dim): return jnp.zeros((n + 1, dim))
def text(key, n, dim): return ["a"] * n
def reader(split): return jnp.zeros((20, 3)), jnp.zeros(20)
def channel(key, x): return x
def cropped(key, x, strength): return x[:, 1:]
def objective(z1): return 0.0
def pairwise(z1, z2): return z1 @ z2.T
def regulariser(z): return z
def statistic(z): return z.mean(axis=0)
class Flat(nn.Module):
    def __call__(self, x): return jnp.sum(x)
class Dropping(nn.Module):
    @nn.compact
    def __call__(self, x, train=False): return nn.Dropout(0.5, deterministic=not train)(x)
class Nnx(nnx.Module):
    def __init__(self, *, rngs): pass
number = 3
"""


@pytest.mark.parametrize(
    ("field", "name", "message"),
    [
        ("data.source", "nowhere", "must be one of binary, .*, or my_module:name"),
        ("data.source", "no_such_file:f", "no module 'no_such_file'.*beside the config file"),
        ("data.source", "wrong_parts:absent", "defines no 'absent'; it defines .*channel"),
        ("data.source", "broken_parts:f", r"cannot be imported at .*, line 2: ZeroDivisionError"),
        ("data.source", "wrong_parts:channel", r"channel\(key, x\) does not fit.*\(key, n, dim\)"),
        ("data.source", "wrong_parts:source", r"an array of shape \(\d+, 24\) as rows.* n = "),
        ("data.source", "wrong_parts:text", "returns a list as rows"),
        ("data.source", "wrong_parts:reader", r"labels are float32\[20\]"),
        ("channel.name", "wrong_parts:channel", r"channel\(key, x\) does not fit"),
        ("channel.name", "wrong_parts:cropped", r"shape \[32, 23\] for rows of shape \[32, 24\]"),
        ("encoder.name", "wrong_parts:number", "is a int; it must be a function"),
        ("encoder.name", "wrong_parts:Flat", r"Flat returns an array of shape \[\]"),
        ("encoder.name", "wrong_parts:Dropping", "Dropping draws random .*Leave dropout .* out"),
        ("encoder.name", "wrong_parts:Nnx", "a module of Flax NNX; it must be one of Flax Linen"),
        (
            "objective",
            "wrong_parts:objective",
            r"objective\(z1\) does not fit.*labels, temperature",
        ),
        ("objective", "wrong_parts:pairwise", r"'loss': \(16, 16\).*one number"),
        ("loss.regulariser", "wrong_parts:regulariser", r"returns an array of shape \(2, 16, 8\)"),
        ("optimizer.name", "wrong_parts:number", "is a int"),
        ("evaluate.statistics", ("wrong_parts:objective",), r"z1.*|returns"),
        ("evaluate.statistics", ("wrong_parts:absent",), "defines no 'absent'"),
    ],
)
def test_what_is_wrong_with_a_part_is_said(
    tiny_config, tmp_path, monkeypatch, field, name, message
):
    (tmp_path / "wrong_parts.py").write_text(WRONG)
    (tmp_path / "broken_parts.py").write_text("\n1 / 0\n")
    monkeypatch.setattr(registry, "_folders", [])
    monkeypatch.syspath_prepend(tmp_path)
    registry.search_in(tmp_path)
    sys.modules.pop("wrong_parts", None)
    tiny_config.update_from_flattened_dict({field: name, "loss.beta": 0.5})
    with pytest.raises(ValueError, match=message):
        check(tiny_config)
        dataset = data.load(tiny_config)
        training.make_program(tiny_config, dataset, members(tiny_config))
        raise ValueError(f"returns {name}")  # statistics are called when rows are evaluated


def test_a_file_that_python_would_not_find_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_folders", [])
    (tmp_path / "json.py").write_text("f = len\n")
    registry.search_in(tmp_path)
    sys.path.remove(str(tmp_path.resolve()))
    with pytest.raises(ValueError, match=r"json\.py is hidden by .*Give your file another name"):
        registry.load("objective", "json:f")


def test_functions_of_installed_packages_are_parts_too(tiny_config):
    tiny_config.objective, tiny_config.optimizer.name = "infonce_jax:dcl", "optax.contrib:muon"
    check(tiny_config)
    assert registry.code_hash("objective", "infonce_jax:dcl") == ""
    program = training.make_program(tiny_config, data.load(tiny_config), members(tiny_config))
    state, _ = program.advance(program.init(), 2)
    own = np.asarray(state.members.metric_sums["loss"])
    tiny_config.objective = "dcl"
    program = training.make_program(tiny_config, data.load(tiny_config), members(tiny_config))
    state, _ = program.advance(program.init(), 2)
    np.testing.assert_allclose(own, np.asarray(state.members.metric_sums["loss"]), rtol=1e-6)


def test_defaults_name_no_part_of_the_users_own():
    assert "code" not in __import__("infonce_jax.config", fromlist=["x"]).resolved(default_config())
