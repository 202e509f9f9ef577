"""Beyond the paper: does Gaussianity help? Probes and outliers, with and without the regulariser.

    python launch.py --config=configs/beyond/downstream.py --workdir=runs/beyond/downstream \
        --config.data.data_dir=~/tensorflow_datasets
    python -m experiments.beyond --only downstream

CIFAR-10 without its trucks, which the encoder never sees: a two-layer MLP trained by InfoNCE for five
epochs at 0, 1 and 100 times the weight β₀ of the norm-and-entropy regulariser, and the same encoder
trained on the labels. Five seeds of each, side by side.
"""

from infonce_jax.config import default_config


def get_config():
    config = default_config()
    config.name = "downstream"
    config.seeds = (0, 1, 2, 3, 4)
    config.data.source = "cifar10"
    config.data.held_out_class = 9
    config.channel.name = "simclr"
    config.encoder.name = "mlp"
    config.encoder.embedding_dim = 128
    config.loss.temperature = 0.2
    config.loss.beta_unit = "vanishing"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 1e-6
    config.train.batch_size = 256
    config.train.epochs = 5.0
    config.log.every_steps = 35
    config.checkpoint.every_steps = 175
    config.evaluate.sample_sizes = (1000, 10_000)
    config.report.title = "Probes and outliers"
    return config


def sweep():
    return {
        "contrastive": {"loss.beta": (0.0, 1.0, 100.0), "report.title": "InfoNCE"},
        "supervised": {"objective": "supervised", "report.title": "Supervised"},
    }
