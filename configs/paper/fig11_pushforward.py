"""The paper's Figure 11: does the likelihood of Laplace data push forward to their representations?

    python launch.py --config=configs/paper/fig11_pushforward.py --workdir=runs/paper/pushforward
    python -m experiments.paper --only pushforward

The inputs' log-likelihood is known, their representations are nearly Gaussian and so have one too.
After appendix E.1: a linear encoder of Laplace(0, 1) data in 1,024 coordinates, A = 0.2, 0.5 and 0.8
side by side, views and optimiser as in configs/paper/table1_synthetic.py. Not stated, and chosen:
d = 128, batch 128. 300 steps, two seeds. With --config.scale=full 150 epochs and three seeds.

The paper gives Pearson correlations of 0.86 to 0.87.
"""

from configs.paper.fig2_3_7_8_laplace import get_config as laplace


def get_config():
    config = laplace()
    config.name = "pushforward"
    config.seeds = (0, 1)
    config.channel.strength = (0.2, 0.5, 0.8)
    config.encoder.embedding_dim = 128
    config.train.batch_size = 128
    config.evaluate.sample_sizes = (1000,)
    config.report.title = "Pushforward"
    return config


def sweep(config):
    full = {"seeds": (0, 1, 2), "train.steps": 0, "train.epochs": 150.0}
    return {"pushforward": full if config.scale == "full" else {}}
