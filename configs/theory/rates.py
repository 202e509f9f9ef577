"""Rates in the dimension and the batch, where the limit is uniform.

    python launch.py --config=configs/theory/rates.py --workdir=runs/theory/rates

Data uniform on the sphere and a linear encoder: representations are uniform exactly where its rows
are orthogonal and of one length. d from 4 to 64 from 2 d inputs, trained to that limit; and batches
from 8 to 256 at d = 32 by SGD at a constant rate, which stays off the limit by the noise of its
batches. Five seeds each, under two minutes on 2 CPU cores.
`python -m experiments.theory` draws the figures and fits the slopes.
"""

from infonce_jax.config import default_config

DIMS = (4, 8, 16, 32, 64)
BATCHES = (8, 16, 32, 64, 128, 256)


def get_config():
    config = default_config()
    config.name = "rates"
    config.data.source = "sphere"
    config.data.dim = 64
    config.data.train_size = 51_200
    config.data.test_size = 10_000
    config.data.fresh = True
    config.encoder.name = "linear"
    config.encoder.embedding_dim = 32
    config.channel.strength = 0.5
    config.loss.temperature = 0.2
    config.optimizer.learning_rate = 1e-2
    config.train.batch_size = 256
    config.train.steps = 400
    config.log.every_steps = 100
    config.checkpoint.every_steps = 400
    config.evaluate.sample_sizes = (1000,)
    config.report.title = "Rates"
    return config


def sweep():
    dims = {
        f"dim{d}": {
            "data.dim": 2 * d,
            "encoder.embedding_dim": d,
            "report.title": f"d = {d}",
        }
        for d in DIMS
    }
    batches = {
        f"batch{n}": {
            "train.batch_size": n,
            "optimizer.name": "sgd",
            "optimizer.schedule": "constant",
            # A covariance's error decays at the rate 4α²/d² per step times the learning rate, that is
            # within 20 steps here: 400 are 20 of its lifetimes.
            "optimizer.learning_rate": 0.5,
            "embed.steps": (200,),
            "report.title": f"batch {n}",
        }
        for n in BATCHES
    }
    return dims | batches
