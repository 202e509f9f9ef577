"""CIFAR-10, two-layer MLP: the smallest encoder that the paper trains on images.

    python launch.py --config=configs/cifar10_mlp.py --workdir=runs/cifar10_mlp \
        --config.data.data_dir=~/tensorflow_datasets

With --config.objective=supervised, the control: the same encoder and views, trained on the labels.

Two seeds, 2 epochs at the settings of appendix E.1: under 3 minutes on 2 CPU cores. Too short to change
the verdict of the tests; the paper trains for 100 epochs (--config.train.epochs=100, about an hour). Its
CV falls from 0.20 to 0.15 and its AD average from 0.85 to 0.57.
"""

from infonce_jax.config import default_config


def get_config():
    config = default_config()
    config.name = "cifar10_mlp"
    config.seeds = (0, 1)
    config.data.source = "cifar10"
    config.channel.name = "simclr"
    # 0.8/0.8/0.8/0.2; 1 stands for 0.4/0.4/0.4/0.1.
    config.channel.jitter = 2.0
    config.encoder.name = "mlp"
    config.encoder.depth = 2
    config.encoder.width = 512
    config.encoder.embedding_dim = 128
    config.encoder.initializer = "pytorch"
    config.loss.temperature = 0.1
    config.loss.symmetric = False
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 1e-4
    config.optimizer.schedule = "constant"
    config.train.batch_size = 256
    config.train.epochs = 2.0
    config.log.every_steps = 25
    config.report.title = "CIFAR-10, two-layer MLP"
    config.report.source = "cifar10"
    config.report.full_epochs = 100.0
    return config
