"""The paper's Table 1, synthetic half: does InfoNCE make a linear encoder's representations normal?

    make reproduce
    python launch.py --config=configs/paper/table1_synthetic.py --workdir=runs/table1_synthetic
    python -m experiments.paper --runs runs --only table1

After appendix E.1. Laplace: Laplace(0, 1) in 1,024 coordinates, views A x + √(1-A²) ε with A = 0.6,
then noise of 0.2, one coordinate in ten dropped, and a factor exp(N(0, 0.1²)) for the row; τ = 0.1.
Mixture: 25 components in 1,024 coordinates, d = 256, and a pair is two draws of one component. Binary:
1,024 bits, d = 256, and every zero becomes a one with probability 0.001. Adam at 1e-3, PyTorch's initial
weights, the loss in one direction.

Not stated there, and chosen: d = 128 and batch 128 for Laplace; means with a standard deviation of 0.1
in each coordinate for the mixture (configs/paper/search_mixture.py tries others); clustered rows, 50
patterns with a lognormal number of ones and 2 % of the bits flipped (configs/paper/search_binary.py
tries others); batch 256 and τ = 0.1 for both.
"""

from infonce_jax.config import default_config


def get_config():
    config = default_config()
    config.name = "table1_synthetic"
    config.seeds = (0, 1)
    config.data.dim = 1024
    config.data.train_size = 10_000
    # The protocol takes 5,000 of them.
    config.data.test_size = 10_000
    config.encoder.name = "linear"
    config.encoder.initializer = "pytorch"
    config.loss.temperature = 0.1
    config.loss.symmetric = False
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "constant"
    config.log.every_steps = 100
    config.evaluate.sample_sizes = (1000, 10_000)
    config.evaluate.groups = (20, 250)
    config.report.title = "InfoNCE on synthetic inputs"
    return config


def sweep(config):
    is_full = config.scale == "full"
    return {
        "laplace": {
            "data.source": "laplace",
            "data.laplace_scale": 1.0,
            "data.train_size": 20_000,
            "channel.name": "mixing",
            "channel.strength": 0.6,
            "channel.noise_std": 0.2,
            "channel.erasure_prob": 0.1,
            "channel.row_scale_std": 0.1,
            "encoder.embedding_dim": 128,
            "train.batch_size": 128,
            "train.epochs": 150.0 if is_full else 2.0,
            "report.title": "Laplace",
            "report.paper": "laplace",
            "report.full_epochs": 150.0,
        },
        "mixture": {
            "data.source": "mixture",
            "data.mixture_components": 25,
            "data.mixture_separation": 0.1,
            "channel.name": "same_component",
            "encoder.embedding_dim": 256,
            "train.batch_size": 256,
            "train.epochs": 100.0 if is_full else 10.0,
            "report.title": "Gaussian mixture",
            "report.paper": "mixture",
            "report.full_epochs": 100.0,
        },
        "binary": {
            "data.source": "binary",
            "data.binary_counts": "lognormal",
            "data.binary_counts_log_std": 0.8,
            "data.binary_active": 200.0,
            "data.binary_prototypes": 50,
            "data.binary_flips": 0.02,
            "channel.name": "bit_add",
            "channel.strength": 0.001,
            "encoder.embedding_dim": 256,
            "train.batch_size": 256,
            "train.epochs": 100.0 if is_full else 10.0,
            "embed.epochs": tuple(range(10, 100, 10)) if is_full else (5.0,),
            "report.title": "Sparse binary",
            "report.paper": "binary",
            "report.full_epochs": 100.0,
        },
    }
