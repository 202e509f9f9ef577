"""The regulariser's weight below and above β₀ = 2(1-η₂)/(τd), where the data pull away from uniformity.

    python launch.py --config=configs/theory/beta.py --workdir=runs/theory/beta

Strong noise (η₂ = 0.2) and a low temperature make a common mean of all directions pay: without the
regulariser uniformity is not even a local minimum (`theory.local_beta`). d of 8, 32 and 128, β/β₀ of
0, 1/4, 1 and 4, five seeds. Two and a half minutes on 2 CPU cores; `python -m experiments.theory`
draws the figure.
"""

from infonce_jax import theory
from infonce_jax.config import default_config

DIMS = (8, 32, 128)
STRENGTH = 2.0


def get_config():
    config = default_config()
    config.name = "beta"
    config.data.source = "gaussian"
    config.data.dim = 128
    config.data.train_size = 51_200
    config.data.test_size = 10_000
    config.data.fresh = True
    config.encoder.name = "linear"
    config.channel.strength = STRENGTH
    config.loss.temperature = 0.02
    config.loss.beta = (0.0, 0.25, 1.0, 4.0)
    config.loss.beta_unit = "vanishing"
    config.loss.eta2 = theory.mildness.gaussian_noise(STRENGTH)
    config.optimizer.learning_rate = 1e-2
    config.train.batch_size = 256
    config.train.steps = 600
    config.log.every_steps = 50
    config.checkpoint.every_steps = 600
    config.evaluate.sample_sizes = (2000,)
    config.report.title = "The regulariser's weight"
    return config


def sweep():
    return {f"dim{d}": {"encoder.embedding_dim": d, "report.title": f"d = {d}"} for d in DIMS}
