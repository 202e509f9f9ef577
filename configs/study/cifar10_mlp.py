"""The study across objectives: a two-layer MLP on CIFAR-10, under every objective.

    python launch.py --config=configs/study/cifar10_mlp.py --workdir=runs/study/cifar10_mlp \
        --config.data.data_dir=~/tensorflow_datasets
    python -m experiments.study

The encoder, the views and the optimizer of the paper's appendix E.1, as in
configs/paper/fig4_cifar10_dynamics.py, on nine classes: no encoder sees the trucks, which stand for the
unknown. Three seeds side by side. Ten epochs; with --config.scale=full the paper's hundred.
"""

from configs.paper.fig4_cifar10_dynamics import get_config as figure_4
from configs.study.objectives import variants


def get_config():
    config = figure_4()
    config.name = "study_cifar10_mlp"
    config.seeds = (0, 1, 2)
    config.data.held_out_class = 9
    config.log.every_steps = 175
    config.checkpoint.every_steps = 350
    config.embed.epochs = ()
    config.evaluate.sample_sizes = (1000, 10_000)
    config.report.title = "What Gaussianity buys: MLP on CIFAR-10"
    config.report.source = "cifar10"
    return config


def sweep(config):
    size = {"train.epochs": 100.0} if config.scale == "full" else {}
    return {name: size | fields for name, fields in variants().items()}
