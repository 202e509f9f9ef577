"""CIFAR-10, ResNet-18: the paper's Table 1, CIFAR-10 columns, at the settings of appendix E.1.

    python launch.py --config=configs/cifar10_resnet18.py --workdir=runs/cifar10_resnet18 \
        --config.data.data_dir=~/tensorflow_datasets
    python launch.py --config=configs/cifar10_resnet18.py --workdir=runs/cifar10_resnet18_supervised \
        --config.data.data_dir=~/tensorflow_datasets --config.objective=supervised

The second is the control: the same encoder, views and steps, trained on the labels.

Hardware: one GPU (bfloat16, data and views on the device). Time and numbers on a GPU: not yet measured;
`make gpu` measures them. On a CPU an epoch takes hours; that it runs there is shown by
--config.train.steps=3 --config.train.batch_size=64 --config.train.compute_dtype=float32
--config.embed.max_rows=256 --config.embed.batch_size=64.
The paper gives CV 0.09, AD average 0.43 (96 % pass) and DP average 0.39 (94 % pass) for contrastive
training; 0.5, 3.3 (6 %) and 0.04 (4 %) for supervised.

Appendix E.1: ResNet-18 after SimCLR, τ = 0.1, Adam at 1e-3 with weight decay 1e-4, batch 256, 100
epochs, crops of 0.2 to 1, flips, colour jitter 0.8/0.8/0.8/0.2, grayscale with probability 0.2. Not
stated, and chosen: no projection head, a linear layer from the pooled features to 128 dimensions (the
features are non-negative, hence never normal, so both objectives have to share the last layer), a
constant learning rate.
"""

from infonce_jax.config import default_config


def get_config():
    config = default_config()
    config.name = "cifar10_resnet18"
    config.seeds = (0,)
    config.data.source = "cifar10"
    config.channel.name = "simclr"
    # 0.8/0.8/0.8/0.2; 1 stands for 0.4/0.4/0.4/0.1.
    config.channel.jitter = 2.0
    config.encoder.name = "resnet18"
    config.encoder.stem = "cifar"
    config.encoder.norm = "batch"
    config.encoder.embedding_dim = 128
    config.encoder.initializer = "pytorch"
    config.loss.temperature = 0.1
    config.loss.symmetric = False
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 1e-4
    config.optimizer.schedule = "constant"
    config.train.batch_size = 256
    config.train.epochs = 100.0
    config.train.compute_dtype = "bfloat16"
    config.checkpoint.every_steps = 975
    config.evaluate.groups = (20, 250)
    config.report.title = "CIFAR-10, ResNet-18"
    config.report.paper = "cifar10"
    config.report.full_epochs = 100.0
    return config
