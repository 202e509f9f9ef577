"""The paper's Table 1, CIFAR-10 columns: a ResNet trained by InfoNCE, and on the labels.

    python launch.py --config=configs/paper/table1_cifar10.py --workdir=runs/paper/cifar10_resnet \
        --config.data.data_dir=~/tensorflow_datasets --config.scale=full

With --config.scale=full the ResNet-18 of configs/cifar10_resnet18.py for 100 epochs, at the settings of
appendix E.1, one after the other, on one GPU; not yet measured. `make gpu` trains it for as many epochs
as nine minutes have room for. Without --config.scale=full a reduced one that a CPU can train, at three
temperatures and on the labels: 16 channels where it has 64, the stem for large images, which leaves an
8×8 map, and twenty epochs (ten at the other temperatures). A second process of the same command takes
half of the runs.

The paper gives CV 0.09, AD average 0.43 (96 % pass) for InfoNCE, and 0.5, 3.3 (6 %) for a supervised
ResNet-18, which appendix E.1 describes as pretrained on ImageNet. Here the same encoder is trained on
the labels of CIFAR-10.
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
        "encoder.width": 16,
        "encoder.stem": "imagenet",
        "train.epochs": 20.0,
        "train.compute_dtype": "float32",
        "embed.epochs": (1, 2, 5, 10),
        "log.every_steps": 39,
        "checkpoint.every_steps": 195,
    }
    size = {} if config.scale == "full" else reduced
    runs = {
        "contrastive": size | {"report.title": "InfoNCE"},
        "supervised": size | {"objective": "supervised", "report.title": "Supervised"},
    }
    if config.scale != "full":
        for temperature in (0.05, 0.5):
            runs[f"contrastive_{temperature:g}"] = size | {
                "train.epochs": 10.0,
                "embed.epochs": (1, 2, 5),
                "loss.temperature": temperature,
                "report.title": f"InfoNCE, τ = {temperature:g}",
            }
    return runs
