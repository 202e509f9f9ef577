"""Beyond the paper: norms, directions and normality against dimension and batch, with fitted rates.

    python launch.py --config=configs/beyond/scaling.py --workdir=runs/beyond/scaling
    python -m experiments.beyond

The Gaussian mixture in twice as many coordinates as the embedding has (at least 64), a linear encoder,
five seeds each: dimensions 2 to 512 at batch 256, and batches 4 to 2,048 at dimension 64; every run
sees the same 300 steps. Six minutes on 2 CPU cores. With --config.scale=full dimensions to
4,096 and batches to 16,384: hours there, for a GPU (not yet measured).
"""

from infonce_jax.config import default_config
from infonce_jax.runs import chain

DIMS = (2, 4, 8, 16, 32, 64, 128, 256, 512)
BATCHES = (4, 16, 64, 256, 1024, 2048)
FULL_DIMS = (*DIMS, 1024, 2048, 4096)
FULL_BATCHES = (*BATCHES, 4096, 8192, 16_384)


def get_config():
    config = default_config()
    config.name = "scaling"
    config.seeds = (0, 1, 2, 3, 4)
    config.data.source = "mixture"
    config.data.mixture_components = 10
    config.data.mixture_separation = 2.0
    config.data.test_size = 10_000
    config.data.fresh = True
    config.encoder.name = "linear"
    config.channel.strength = 0.5
    config.loss.temperature = 0.2
    config.optimizer.learning_rate = 3e-3
    config.train.steps = 300
    config.log.every_steps = 100
    config.checkpoint.every_steps = 300
    config.evaluate.sample_sizes = (1000, 10_000)
    config.report.title = "Scaling"
    return config


def sweep(config):
    dims, batches = (FULL_DIMS, FULL_BATCHES) if config.scale == "full" else (DIMS, BATCHES)
    return chain(
        [_point(dim, 256) for dim in dims],
        [_point(64, batch) for batch in batches],
    )


def _point(dim, batch):
    return {
        "encoder.embedding_dim": dim,
        "train.batch_size": batch,
        "data.dim": max(64, 2 * dim),
    }
