"""CIFAR-10, ResNet-18: the paper's Table 1, CIFAR-10 columns.

    python launch.py --config=configs/cifar10_resnet18.py --workdir=runs/cifar10_resnet18 \
        --config.data.data_dir=~/tensorflow_datasets
    python launch.py --config=configs/cifar10_resnet18.py --workdir=runs/cifar10_resnet18_supervised \
        --config.data.data_dir=~/tensorflow_datasets --config.objective=supervised

The second is the control: the same encoder, views and steps, trained on the labels.

Hardware: one GPU (bfloat16, batch 512, data and views on the device). Time and numbers on a GPU: not
yet measured. On a CPU an epoch takes hours; that it runs there is shown by
--config.train.steps=3 --config.train.batch_size=64 --config.train.compute_dtype=float32
--config.embed.max_rows=256 --config.embed.batch_size=64.
The paper gives CV 0.09, AD average 0.43 (96 % pass) and DP average 0.39 (94 % pass) for contrastive
training; 0.5, 3.3 (6 %) and 0.04 (4 %) for supervised.

Both objectives act on the 128-dimensional embedding, a linear layer on the pooled features: those
are non-negative, hence never normal, so contrastive and supervised have to share the last layer to
be comparable. The paper states neither its head nor its schedule; these are SimCLR's for CIFAR-10.
"""

from infonce_jax.config import default_config


def get_config():
    config = default_config()
    config.name = "cifar10_resnet18"
    config.seeds = (0,)
    config.data.source = "cifar10"
    config.channel.name = "simclr"
    config.encoder.name = "resnet18"
    config.encoder.stem = "cifar"
    config.encoder.norm = "batch"
    config.encoder.embedding_dim = 128
    config.loss.temperature = 0.5
    config.optimizer.name = "sgd"
    config.optimizer.kwargs = {"momentum": 0.9, "nesterov": True}
    config.optimizer.learning_rate = 0.06
    config.optimizer.weight_decay = 5e-4
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 0
    config.train.batch_size = 512
    config.train.epochs = 100.0
    config.train.compute_dtype = "bfloat16"
    config.checkpoint.every_steps = 970
    config.report.title = "CIFAR-10, ResNet-18"
    config.report.paper = "cifar10"
    config.report.full_epochs = 100.0
    return config
