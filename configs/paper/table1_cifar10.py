"""The paper's Table 1, CIFAR-10 columns: a ResNet trained by InfoNCE, and on the labels.

    python launch.py --config=configs/paper/table1_cifar10.py --workdir=runs/paper/cifar10_resnet \
        --config.data.data_dir=~/tensorflow_datasets --config.scale=full

With --config.scale=full the ResNet-18 of configs/cifar10_resnet18.py, one after the other, on one GPU
(not yet measured; meant to take less than ten minutes each on an H100). Without it a reduced one that a
CPU can train: 8 channels where it has 64, ten epochs, batches of 256; some two hours on 2 cores, of
which the contrastive run takes two thirds. The untrained encoder is step 0 of both; the other
controls are in the tables that

    python -m experiments.paper

sets into docs/paper.md.

What the paper leaves open is said in configs/cifar10_resnet18.py.
"""

from configs.cifar10_resnet18 import get_config as resnet18


def get_config():
    config = resnet18()
    config.name = "cifar10_resnet"
    config.report.title = "A ResNet, contrastive and supervised"
    config.embed.epochs = (1, 2, 5, 20, 50)
    config.evaluate.sample_sizes = (500, 1000, 2000, 10_000)
    return config


def sweep(config):
    reduced = {
        "encoder.width": 8,
        "train.epochs": 10.0,
        "train.batch_size": 256,
        "train.compute_dtype": "float32",
        "optimizer.learning_rate": 0.03,
        "embed.epochs": (1, 2, 5),
        "log.every_steps": 39,
        "checkpoint.every_steps": 39,
    }
    size = {} if config.scale == "full" else reduced
    return {
        "contrastive": size | {"report.title": "InfoNCE"},
        "supervised": size | {"objective": "supervised", "report.title": "Supervised"},
    }
