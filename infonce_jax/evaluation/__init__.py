"""Is an embedding Gaussian, concentrated, uniform? NumPy in, NumPy out, and a command line.

    python -m infonce_jax.evaluation evaluate PATH… --output DIR

Here are the univariate tests and what runs them all. Modules of their own are `multivariate`, `sphere`,
`shape` (effect sizes), `aggregate` (false discovery rates, global test), `controls`, `whitening` and
`probe`. It knows nothing of how embeddings are made: it reads .npy, .npz, .safetensors and .parquet
files of any maker, and the embedding folders of a run.
"""

from infonce_jax.evaluation import (
    aggregate,
    controls,
    multivariate,
    probe,
    shape,
    sphere,
    whitening,
)
from infonce_jax.evaluation.concentration import norm_cv, norm_cv_gaussian, participation_ratio
from infonce_jax.evaluation.duplicates import duplicate_coordinates
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
from infonce_jax.evaluation.table import format_table
from infonce_jax.evaluation.uniformity import (
    NegativeCosines,
    alignment,
    mean_resultant,
    negative_cosines,
    uniformity_potential,
    zero_rows,
)
from infonce_jax.evaluation.verdict import verdicts

__all__ = [
    "AD_CRITICAL_5_PERCENT",
    "GAUSSIAN",
    "TESTS",
    "NegativeCosines",
    "NormalityResult",
    "aggregate",
    "alignment",
    "anderson_darling",
    "controls",
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
    "participation_ratio",
    "probe",
    "shape",
    "shapiro_francia",
    "sphere",
    "stephens_modified",
    "summarise",
    "uniformity_potential",
    "univariate",
    "verdicts",
    "whitening",
    "write",
    "zero_rows",
]
