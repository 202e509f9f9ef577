"""The study across objectives: a ResNet on CIFAR-10, under every objective.

    python launch.py --config=configs/study/cifar10_resnet.py --workdir=runs/study/cifar10_resnet \
        --config.data.data_dir=~/tensorflow_datasets --config.scale=full
    python -m experiments.study

With --config.scale=full the ResNet-18 of configs/cifar10_resnet18.py for 100 epochs at the settings of
appendix E.1, on one GPU; not yet measured. Without it the reduced one of
configs/paper/table1_cifar10.py, which a CPU can train: 16 channels where it has 64, the stem for large
images, two epochs: two hours of one core. On nine classes, as configs/study/cifar10_mlp.py.
"""

from configs.cifar10_resnet18 import get_config as resnet18
from configs.study.cifar10_mlp import variants


def get_config():
    config = resnet18()
    config.name = "study_cifar10_resnet"
    config.seeds = (0, 1, 2)
    config.data.held_out_class = 9
    config.log.every_steps = 175
    config.checkpoint.every_steps = 175
    config.evaluate.sample_sizes = (1000, 10_000)
    config.report.title = "What Gaussianity buys: ResNet on CIFAR-10"
    config.report.source = "cifar10"
    config.report.paper = ""
    return config


def sweep(config):
    reduced = {
        "encoder.width": 16,
        "encoder.stem": "imagenet",
        "train.epochs": 2.0,
        "train.compute_dtype": "float32",
    }
    size = {} if config.scale == "full" else reduced
    return {name: size | fields for name, fields in variants().items()}
