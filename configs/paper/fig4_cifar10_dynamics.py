"""The paper's Figure 4: norms and normality over 100 epochs of a two-layer MLP on CIFAR-10.

    python launch.py --config=configs/paper/fig4_cifar10_dynamics.py --workdir=runs/paper/cifar10_mlp \
        --config.data.data_dir=~/tensorflow_datasets
    python -m experiments.paper

InfoNCE at two temperatures side by side, and as controls the same encoder and views trained on the
labels, and untrained (epoch 0 of both). About three quarters of an hour on 2 CPU cores; the run
can be stopped and started again at any time. Figures 9 and 10 (whitening) are drawn from its
embeddings too.

The paper gives neither temperature, width, optimiser nor the sample size of the tests. Chosen here: 0.5,
SimCLR's for CIFAR-10, and 0.1; 512 hidden units; Adam at 1e-3 with a cosine to zero, batch 256; and all
of n = 500, 2,000 and 10,000. More seeds: --config.seeds='(0, 1, 2)', in a workdir of their own.
"""

from infonce_jax.config import default_config


def get_config():
    config = default_config()
    config.name = "cifar10_mlp"
    config.seeds = (0,)
    config.data.source = "cifar10"
    config.channel.name = "simclr"
    config.encoder.name = "mlp"
    config.encoder.depth = 2
    config.encoder.width = 512
    config.encoder.embedding_dim = 128
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 1e-6
    config.train.batch_size = 256
    config.train.epochs = 100.0
    config.log.every_steps = 195
    config.checkpoint.every_steps = 975
    # Close together while things change fast.
    config.embed.epochs = (*range(1, 10), *range(10, 20, 2), *range(20, 100, 5))
    config.evaluate.sample_sizes = (500, 1000, 2000, 10_000)
    config.report.title = "Norms and normality over the epochs"
    config.report.full_epochs = 100.0
    return config


def sweep():
    return {
        "contrastive": {"loss.temperature": (0.1, 0.5), "report.title": "InfoNCE"},
        "supervised": {"objective": "supervised", "report.title": "Supervised"},
    }
