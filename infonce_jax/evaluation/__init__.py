"""Is an embedding Gaussian, concentrated, uniform? NumPy in, NumPy out, and a command line.

    python -m infonce_jax.evaluation evaluate PATH… --output DIR

It knows nothing of how embeddings are made: it reads .npy, .npz, .safetensors and .parquet files of
any maker, and the embedding folders of a run.
"""

from infonce_jax.evaluation.concentration import norm_cv, norm_cv_gaussian, participation_ratio
from infonce_jax.evaluation.evaluate import (
    GAUSSIAN,
    evaluate_arrays,
    evaluate_paths,
    summarise,
    write,
)
from infonce_jax.evaluation.load import load_embeddings
from infonce_jax.evaluation.normality import (
    AD_CRITICAL_5_PERCENT,
    AndersonDarlingResult,
    DAgostinoPearsonResult,
    anderson_darling,
    dagostino_pearson,
    stephens_modified,
)
from infonce_jax.evaluation.table import format_table
from infonce_jax.evaluation.uniformity import (
    NegativeCosines,
    alignment,
    mean_resultant,
    negative_cosines,
    uniformity_potential,
    zero_rows,
)

__all__ = [
    "AD_CRITICAL_5_PERCENT",
    "GAUSSIAN",
    "AndersonDarlingResult",
    "DAgostinoPearsonResult",
    "NegativeCosines",
    "alignment",
    "anderson_darling",
    "dagostino_pearson",
    "evaluate_arrays",
    "evaluate_paths",
    "format_table",
    "load_embeddings",
    "mean_resultant",
    "negative_cosines",
    "norm_cv",
    "norm_cv_gaussian",
    "participation_ratio",
    "stephens_modified",
    "summarise",
    "uniformity_potential",
    "write",
    "zero_rows",
]
