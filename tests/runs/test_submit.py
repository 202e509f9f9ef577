"""What jobs of a scheduler are told."""

from infonce_jax.runs.submit import without_flags


def test_flags_are_taken_out_however_they_are_spelt():
    ours = {"submitit", "sweep_count"}
    kept = ["--config=a.py", "--config.train.steps", "-5", "-workdir", "submitit", "--submitit_x=1"]
    for spelt in (
        ["--submitit=local", "--sweep_count=2"],
        ["-submitit=local", "-sweep_count=2"],
        ["--submitit", "local", "--sweep_count", "2"],
        ["-submitit", "local", "-sweep_count", "2"],
    ):
        assert without_flags([*kept[:1], *spelt, *kept[1:]], ours) == kept
        assert without_flags([*kept, *spelt], ours) == kept
