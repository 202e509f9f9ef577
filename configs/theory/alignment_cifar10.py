"""η₂ of SimCLR's views of CIFAR-10 at three crop strengths, beside the alignment that training reaches.

    python launch.py --config=configs/theory/alignment_cifar10.py --workdir=runs/theory/cifar10 \
        --config.data.data_dir=~/tensorflow_datasets

The two-layer MLP, both crops and all other augmentations of SimCLR, 2 epochs: about two minutes on 2 CPU
cores. `python -m experiments.theory` estimates η₂ from the embedded views and draws the figure.
"""

from infonce_jax.config import default_config


def get_config():
    config = default_config()
    config.name = "alignment_cifar10"
    config.seeds = (0,)
    config.data.source = "cifar10"
    config.channel.name = "simclr"
    config.channel.crop_area_min = (0.08, 0.2, 0.6)
    config.encoder.name = "mlp"
    config.encoder.depth = 2
    config.encoder.width = 512
    config.encoder.embedding_dim = 128
    config.loss.temperature = 0.5
    config.train.batch_size = 256
    config.train.epochs = 2.0
    config.log.every_steps = 25
    config.evaluate.sample_sizes = (1000,)
    config.report.title = "CIFAR-10, two-layer MLP"
    config.report.source = "cifar10"
    return config
