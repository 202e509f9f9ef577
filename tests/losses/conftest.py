import jax
import pytest


@pytest.fixture(autouse=True)
def strict_modes():
    """JAX's strictest modes, in which a user of any of them finds the objectives."""
    with (
        jax.numpy_rank_promotion("raise"),
        jax.numpy_dtype_promotion("strict"),
        jax.debug_nans(True),
    ):
        yield
