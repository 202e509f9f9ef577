"""The study across objectives: a linear encoder of a Gaussian mixture, under every objective.

    python launch.py --config=configs/study/mixture.py --workdir=runs/study/mixture
    python -m experiments.study

The mixture of the paper's appendix E.1 (configs/paper/table1_synthetic.py): 25 components in 1,024
coordinates, and a pair is two draws of one component. The means have a standard deviation of 0.2 in each
coordinate, at which an untrained encoder's classes overlap and training decides. 128 dimensions, since
W-MSE needs more rows in a batch than dimensions. Three seeds, ten epochs; --config.scale=full trains the
paper's hundred.
"""

from configs.paper.table1_synthetic import get_config as table_1
from configs.study.cifar10_mlp import variants


def get_config():
    config = table_1()
    config.name = "study_mixture"
    config.seeds = (0, 1, 2)
    config.data.source = "mixture"
    config.data.mixture_components = 25
    config.data.mixture_separation = 0.2
    config.channel.name = "same_component"
    config.encoder.embedding_dim = 128
    config.train.batch_size = 256
    config.train.epochs = 10.0
    config.report.title = "What Gaussianity buys: a mixture"
    config.report.source = "mixture"
    config.report.full_epochs = 100.0
    return config


def sweep(config):
    size = {"train.epochs": 100.0} if config.scale == "full" else {}
    return {name: size | fields for name, fields in variants().items()}
