"""The paper's Figures 2, 3, 7 and 8: cosines and norms against batch and dimension, on Laplace data.

    python launch.py --config=configs/paper/fig2_3_7_8_laplace.py --workdir=runs/paper/laplace
    python -m experiments.paper --runs runs/paper --output docs/paper

A linear encoder to d = 32, 64, 128, 256 and 512 dimensions, batches of 8, 32, 64, 128 and 512; three
seeds each, 25 runs. Under ten minutes on 2 CPU cores.

The paper states the dimensions, and the batches 8, 32, 64 and 128, but neither the inputs' dimension,
the noise, the temperature nor how long it trains. Chosen here as for Table 1: 256 input coordinates,
noise of half a standard deviation, temperature 0.07; 400 steps, after which the loss is flat at every
batch size. d = 512 is more than the inputs have, so its representations fill half the space.
"""

from infonce_jax.config import default_config
from infonce_jax.runs import grid

DIMS = (32, 64, 128, 256, 512)
BATCHES = (8, 32, 64, 128, 512)


def get_config():
    config = default_config()
    config.name = "laplace"
    config.seeds = (0, 1, 2)
    config.data.source = "laplace"
    config.data.dim = 256
    config.data.test_size = 5000
    config.data.fresh = True
    config.encoder.name = "linear"
    config.channel.strength = 0.5
    config.loss.temperature = 0.07
    config.optimizer.learning_rate = 3e-3
    config.train.steps = 400
    config.log.every_steps = 100
    config.checkpoint.every_steps = 400
    config.evaluate.sample_sizes = (1000, 5000)
    config.report.title = "Cosines and norms"
    return config


def sweep():
    return grid({"encoder.embedding_dim": DIMS, "train.batch_size": BATCHES})
