"""Alignment with SIGReg alone (LeJEPA), on the Gaussian mixture: how Gaussian does it become?

    python launch.py --config=configs/beyond/sigreg.py --workdir=runs/beyond/sigreg

A linear encoder from 256 to 128 coordinates, two seeds and three weights β of SIGReg, trained side by
side for 10,000 steps. β = λ / (1 - λ) for LeJEPA's λ; λ = 0.05 is the published one. The mixture is
that of configs/beyond/objectives.py, where InfoNCE reaches an AD average of 0.405 at n = 1,000 and
0.550 at n = 10,000 after 400 steps.

What to expect, AD average at n = 1,000 and 10,000 (an exact Gaussian: 0.384; untrained: 6.4 and 61):
5.1 and 49 at β = 0.01, 0.570 and 2.65 at β = 0.05, 0.397 and 0.422 at β = 0.5.
"""

from infonce_jax.config import default_config


def get_config():
    config = default_config()
    config.name = "sigreg"
    config.seeds = (0, 1)
    config.data.source = "mixture"
    config.data.dim = 256
    config.data.train_size = 12_800
    config.data.test_size = 10_000
    config.data.mixture_components = 10
    config.data.mixture_separation = 2.0
    config.channel.name = "gaussian_noise"
    config.channel.strength = 0.5
    config.encoder.name = "linear"
    config.encoder.embedding_dim = 128
    config.objective = "prediction"
    config.loss.regulariser = "sigreg"
    config.loss.directions = 256
    config.loss.beta = (0.01, 0.05, 0.5)
    config.optimizer.learning_rate = 3e-3
    config.train.batch_size = 128
    config.train.steps = 10_000
    config.log.every_steps = 500
    config.checkpoint.every_steps = 2000
    config.embed.steps = (400, 2000)
    config.evaluate.sample_sizes = (250, 500, 1000, 2000, 5000, 10_000)
    config.report.title = "Alignment and SIGReg on the mixture"
    config.report.source = "mixture"
    return config
