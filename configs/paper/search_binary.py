"""Which sparse binary inputs start and end as in the paper's Table 1? A search over plausible settings.

    python launch.py --config=configs/paper/search_binary.py --workdir=runs/paper/binary
    python -m experiments.paper --only binary

In Table 1 a linear encoder takes them from CV 0.36, AD 1.64 to 0.09, 0.42 in 100 epochs. Appendix E.1
gives 1,024 bits, d = 256 and the channel (every zero becomes a one with probability 0.001), but neither
the law of the bits nor batch and τ. Here: how many bits are one, and by which law; bits of unequal
frequencies; few distinct patterns; clustered rows; and around the best of them the batch, the channel
and the initial weights; four temperatures side by side in each run. Ten epochs, one seed. With
--config.scale=full 100 epochs.
"""

from infonce_jax.config import default_config
from infonce_jax.runs import chain, grid

TEMPERATURES = (0.05, 0.1, 0.3, 1.0)


def get_config():
    config = default_config()
    config.name = "binary"
    config.seeds = (0,)
    config.data.source = "binary"
    config.data.dim = 1024
    config.data.train_size = 10_000
    config.data.test_size = 5000
    config.channel.name = "bit_add"
    config.channel.strength = 0.001
    config.encoder.name = "linear"
    config.encoder.initializer = "pytorch"
    config.encoder.embedding_dim = 256
    config.loss.temperature = TEMPERATURES
    config.loss.symmetric = False
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "constant"
    config.train.batch_size = 256
    config.train.epochs = 10.0
    config.embed.epochs = (1.0,)
    config.log.every_steps = 50
    config.evaluate.sample_sizes = (1000,)
    config.report.title = "Sparse binary"
    config.report.source = "binary"
    return config


def sweep(config):
    name = "data.binary_"
    counts, active, log_std = name + "counts", name + "active", name + "counts_log_std"
    prototypes, flips, skew = name + "prototypes", name + "flips", name + "skew"
    # The best of the clustered rows, around which what is not a law is varied.
    best = {counts: "lognormal", log_std: 0.8, active: 200.0, prototypes: 50, flips: 0.03}
    points = chain(
        grid({counts: ("bernoulli",), active: (2.0, 8.0, 30.0, 100.0, 200.0)}),
        grid({counts: ("fixed",), active: (30.0,)}),
        grid({counts: ("lognormal",), log_std: (0.8,), active: (200.0,), prototypes: (50, 100),
              flips: (0.02, 0.03)}),
        grid({counts: ("exponential",), active: (100.0,), prototypes: (100,), flips: (0.01,)}),
        grid({counts: ("exponential",), active: (200.0,), prototypes: (200,), flips: (0.03,)}),
        grid({counts: ("uniform",), active: (100.0,), prototypes: (100,), flips: (0.01,)}),
        grid({counts: ("uniform", "exponential"), active: (100.0,)}),
        grid({counts: ("bernoulli",), skew: (1.0,), active: (100.0,)}),
        grid({counts: ("exponential",), active: (100.0,), prototypes: (1000,)}),
        grid({counts: ("fixed",), active: (30.0,), prototypes: (25,), flips: (0.01,)}),
        [best | {"train.batch_size": size} for size in (64, 512)],
        [best | {"encoder.initializer": "normal"}],
        [best | {"channel.strength": 0.01}],
        [best | {"channel.name": "erasure", "channel.strength": 0.1}],
    )  # fmt: skip
    if config.scale == "full":
        return [point | {"train.epochs": 100.0} for point in points]
    return points
