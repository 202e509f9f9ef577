"""The paper's Figures 2, 3, 7 and 8: cosines and norms against batch and dimension, on Laplace data.

    python launch.py --config=configs/paper/fig2_3_7_8_laplace.py --workdir=runs/paper/laplace
    python -m experiments.paper

After appendix E.1, whose grid it is: a linear encoder of Laplace(0, 1) data in 1,024 coordinates to 32
to 256 dimensions, batches of 8 to 128, views and optimiser as in configs/paper/table1_synthetic.py,
τ = 0.1. 28 runs of 300 steps and one seed. With --config.scale=full 150 epochs and three seeds.

No numbers are printed beside the paper's figures. Expect CV 0.13 to 0.06, mostly without training.
"""

from infonce_jax.config import default_config
from infonce_jax.runs import grid

DIMS = (32, 64, 128, 256)
BATCHES = (8, 16, 32, 48, 64, 96, 128)


def get_config():
    config = default_config()
    config.name = "laplace"
    config.seeds = (0,)
    config.data.source = "laplace"
    config.data.laplace_scale = 1.0
    config.data.dim = 1024
    config.data.train_size = 20_000
    config.data.test_size = 5000
    config.channel.name = "mixing"
    config.channel.strength = 0.6
    config.channel.noise_std = 0.2
    config.channel.erasure_prob = 0.1
    config.channel.row_scale_std = 0.1
    config.encoder.name = "linear"
    config.encoder.initializer = "pytorch"
    config.loss.temperature = 0.1
    config.loss.symmetric = False
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "constant"
    config.train.steps = 300
    config.log.every_steps = 100
    config.evaluate.sample_sizes = (1000,)
    config.report.title = "Cosines and norms"
    return config


def sweep(config):
    # The ends of the batches first, at every dimension, so that a part of it shows the whole.
    batches = sorted(BATCHES, key=(8, 128, 32, 64, 16, 96, 48).index)
    points = grid({"train.batch_size": batches, "encoder.embedding_dim": DIMS})
    if config.scale == "full":
        full = {"seeds": (0, 1, 2), "train.steps": 0, "train.epochs": 150.0}
        return [point | full for point in points]
    return points
