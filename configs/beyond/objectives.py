"""Beyond the paper: is Gaussianity particular to InfoNCE?

    python launch.py --config=configs/beyond/objectives.py --workdir=runs/beyond/objectives
    python -m experiments.beyond

A Gaussian mixture whose components stand apart, on which training decides, under every objective:
InfoNCE, NT-Xent, DCL, SigLIP, Barlow Twins, VICReg, and with labels supervised contrastive and
cross-entropy. The same linear encoder, views, optimiser and 400 steps for all; six seeds of each, and
where the objective has a temperature two of them. Two minutes on 2 CPU cores.
"""

from infonce_jax.config import default_config

TEMPERATURES = (0.07, 0.5)


def get_config():
    config = default_config()
    config.name = "objectives"
    config.seeds = (0, 1, 2, 3, 4, 5)
    config.data.source = "mixture"
    config.data.mixture_components = 10
    config.data.mixture_separation = 2.0
    config.data.dim = 256
    config.data.train_size = 12_800
    config.data.test_size = 10_000
    config.channel.strength = 0.5
    config.encoder.name = "linear"
    config.encoder.embedding_dim = 128
    config.optimizer.learning_rate = 3e-3
    config.train.batch_size = 128
    config.train.epochs = 4.0
    config.log.every_steps = 100
    config.checkpoint.every_steps = 400
    config.evaluate.sample_sizes = (250, 500, 1000, 2000, 5000, 10_000)
    config.report.title = "Objectives side by side"
    return config


def sweep():
    with_temperature = ("infonce", "nt_xent", "dcl", "siglip", "sup_con")
    without = ("barlow_twins", "vicreg", "supervised")
    return {
        **{o: {"objective": o, "loss.temperature": TEMPERATURES} for o in with_temperature},
        **{o: {"objective": o} for o in without},
    }
