"""Alignment reached against the bound η₂ + (1-η₂)‖m‖², as the channel gets stronger.

    python launch.py --config=configs/theory/alignment.py --workdir=runs/theory/alignment

Four sources, four strengths, three seeds; fresh rows at every step, so that nothing can be learnt by
heart. A minute and a half on 2 CPU cores. `python -m experiments.theory` draws the figure.
"""

from infonce_jax.config import default_config


def get_config():
    config = default_config()
    config.name = "alignment"
    config.seeds = (0, 1, 2)
    config.data.dim = 64
    config.data.train_size = 25_600
    config.data.test_size = 10_000
    config.data.fresh = True
    config.encoder.name = "linear"
    config.encoder.embedding_dim = 64
    config.channel.strength = (0.25, 0.5, 1.0, 2.0)
    config.loss.temperature = 0.5
    config.optimizer.learning_rate = 3e-3
    config.train.batch_size = 256
    config.train.steps = 500
    config.log.every_steps = 50
    config.checkpoint.every_steps = 500
    config.evaluate.sample_sizes = (1000,)
    config.report.title = "Alignment against its bound"
    return config


def sweep():
    return {
        "gaussian": {
            "data.source": "gaussian",
            "report.title": "Gaussian",
            "report.source": "gaussian",
        },
        "laplace": {
            "data.source": "laplace",
            "report.title": "Laplace",
            "report.source": "laplace",
        },
        "mixture": {
            # Two components 2.3 standard deviations apart: η₂ is between the linear and 1.
            "data.source": "mixture",
            "data.mixture_components": 2,
            "data.mixture_separation": 0.2,
            "report.title": "Gaussian mixture",
            "report.source": "mixture",
        },
        "binary": {
            "data.source": "binary",
            "data.binary_active": 8.0,
            "channel.name": "bit_flip",
            "channel.strength": (0.01, 0.03, 0.1, 0.2),
            "report.title": "Sparse binary",
            "report.source": "binary",
        },
    }
