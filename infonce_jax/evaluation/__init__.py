"""Is an embedding Gaussian, concentrated, uniform? NumPy in, NumPy out, and a command line.

    infonce-jax evaluate PATH… --output DIR

This face has the univariate tests and the functions that run everything. Modules of their own are
`multivariate`, `sphere`, `shape` (effect sizes), `aggregate` (false discovery rates, global test),
`controls`, `whitening`, `closer` (which of two is closer to a Gaussian), `pair` (two modalities),
`streaming` (in a training loop) and `probe`. Nothing here depends on how embeddings are made: files
come from any source, and embedding folders from a run.

To find your way: `load` opens files (`formats`, `columnar` and `stores` read them), `sets` pairs them
with their controls, `registry` lists the statistics, `evaluate` computes them at a grid of sample
sizes, `coordinate_table` has the coordinates one by one, `rows` keeps and writes the results, `verdict`
puts them into words, and `commands` and `model_commands` are what the command line does.
"""

from infonce_jax.evaluation import (
    aggregate,
    controls,
    multivariate,
    pair,
    probe,
    shape,
    sphere,
    streaming,
    whitening,
)
from infonce_jax.evaluation.concentration import norm_cv, norm_cv_gaussian, participation_ratio
from infonce_jax.evaluation.coordinate_table import coordinate_table
from infonce_jax.evaluation.duplicates import duplicate_coordinates
from infonce_jax.evaluation.evaluate import evaluate_arrays
from infonce_jax.evaluation.load import load_embeddings
from infonce_jax.evaluation.normality import (
    AD_CRITICAL_5_PERCENT,
    AD_GAUSSIAN_MEAN,
    TESTS,
    NormalityResult,
    anderson_darling,
    cramer_von_mises,
    dagostino_pearson,
    epps_pulley,
    jarque_bera,
    lilliefors,
    normal_scores,
    shapiro_francia,
    stephens_modified,
    univariate,
)
from infonce_jax.evaluation.registry import GAUSSIAN, own_statistics
from infonce_jax.evaluation.rows import summarise, write
from infonce_jax.evaluation.sets import evaluate_paths
from infonce_jax.evaluation.table import format_table
from infonce_jax.evaluation.uniformity import (
    NegativeCosines,
    alignment,
    cosines,
    mean_resultant,
    negative_cosines,
    uniformity_potential,
    zero_rows,
)
from infonce_jax.evaluation.verdict import verdicts

__all__ = [
    "AD_CRITICAL_5_PERCENT",
    "AD_GAUSSIAN_MEAN",
    "GAUSSIAN",
    "TESTS",
    "NegativeCosines",
    "NormalityResult",
    "aggregate",
    "alignment",
    "anderson_darling",
    "controls",
    "coordinate_table",
    "cosines",
    "cramer_von_mises",
    "dagostino_pearson",
    "duplicate_coordinates",
    "epps_pulley",
    "evaluate_arrays",
    "evaluate_paths",
    "format_table",
    "jarque_bera",
    "lilliefors",
    "load_embeddings",
    "mean_resultant",
    "multivariate",
    "negative_cosines",
    "norm_cv",
    "norm_cv_gaussian",
    "normal_scores",
    "own_statistics",
    "pair",
    "participation_ratio",
    "probe",
    "shape",
    "shapiro_francia",
    "sphere",
    "stephens_modified",
    "streaming",
    "summarise",
    "uniformity_potential",
    "univariate",
    "verdicts",
    "whitening",
    "write",
    "zero_rows",
]
