"""Excess uniformity Φ - Φ(σ) and the Anderson-Darling statistic against the dimension and the batch.

    python launch.py --config=configs/theory/rates.py --workdir=runs/theory/rates

A linear encoder on a Gaussian mixture, d from 8 to 128 at a batch of 256, and batches from 8 to 256 at
d = 32; five seeds each. About two minutes on 2 CPU cores. `python -m infonce_jax.report.theory` draws
the figure and fits the slopes.
"""

from infonce_jax.config import default_config

DIMS = (8, 16, 32, 64, 128)
BATCHES = (8, 16, 32, 64, 128, 256)


def get_config():
    config = default_config()
    config.name = "rates"
    config.data.dim = 256
    config.data.train_size = 51_200
    config.data.test_size = 10_000
    config.data.fresh = True
    config.data.source = "mixture"
    config.data.mixture_components = 10
    config.data.mixture_separation = 1.0
    config.encoder.name = "linear"
    config.encoder.embedding_dim = 32
    config.channel.strength = 0.5
    config.loss.temperature = 0.2
    config.optimizer.learning_rate = 3e-3
    config.train.batch_size = 256
    config.train.steps = 300
    config.log.every_steps = 100
    config.checkpoint.every_steps = 300
    config.evaluate.sample_sizes = (10_000,)
    config.report.title = "Rates"
    return config


def sweep():
    dims = {f"dim{d}": {"encoder.embedding_dim": d, "report.title": f"d = {d}"} for d in DIMS}
    batches = {
        f"batch{n}": {"train.batch_size": n, "report.title": f"batch {n}"}
        for n in BATCHES
        if n != 256
    }
    return dims | batches
