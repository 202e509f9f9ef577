"""Reads the run folders of configs/beyond/ for the pages."""

import numpy as np
from jaxtyping import Float

from infonce_jax.report.runs import Key, Run


def values_of(run: Run, setting: str, step: int, n: int) -> dict[str, Float[np.ndarray, " seeds"]]:
    found = run.members[Key(setting, step, "test", "raw", n)]
    return {name: np.array(list(by_member.values())) for name, by_member in found.items()}
