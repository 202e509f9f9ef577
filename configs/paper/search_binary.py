"""What takes sparse binary inputs to Gaussian representations? A search over plausible settings.

    python launch.py --config=configs/paper/search_binary.py --workdir=runs/paper/binary
    python -m experiments.paper

In Table 1 the paper's linear encoder takes them from CV 0.36, AD 1.64 to 0.09, 0.42 in 100 epochs. It
does not say how the inputs are made. Here: 2, 4, 8 or 32 expected ones among 256 coordinates; a
linear encoder and a two-layer MLP; erasure and bit flips; and side by side two strengths of the
channel and three temperatures. 16 runs of six members, 1,000 steps each: five
minutes on 2 CPU cores.
"""

from infonce_jax.config import default_config
from infonce_jax.runs import grid, product


def get_config():
    config = default_config()
    config.name = "binary"
    config.seeds = (0,)
    config.data.source = "binary"
    config.data.dim = 256
    config.data.test_size = 5000
    config.data.fresh = True
    config.encoder.embedding_dim = 128
    config.loss.temperature = (0.07, 0.2, 0.5)
    config.optimizer.learning_rate = 3e-3
    config.train.batch_size = 128
    config.train.steps = 1000
    config.log.every_steps = 250
    config.checkpoint.every_steps = 1000
    config.evaluate.sample_sizes = (1000, 5000)
    config.report.title = "Sparse binary"
    config.report.source = "binary"
    return config


def sweep():
    channels = (
        {"channel.name": "erasure", "channel.strength": (0.1, 0.3)},
        {"channel.name": "bit_flip", "channel.strength": (0.002, 0.01)},
    )
    inputs = grid(
        {
            "data.binary_active": (2.0, 4.0, 8.0, 32.0),
            "encoder.name": ("linear", "mlp"),
        }
    )
    return product(inputs, channels)
