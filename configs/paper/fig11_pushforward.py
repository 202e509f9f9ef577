"""The paper's Figure 11: does the likelihood of Laplace data push forward to their representations?

    python launch.py --config=configs/paper/fig11_pushforward.py --workdir=runs/paper/pushforward
    python -m experiments.paper

The inputs' log-likelihood is known, their representations are nearly Gaussian and so have one too. A
linear encoder at five strengths of the noise, three seeds each, in one program: half a minute on 2 CPU
cores. The figure correlates the two log-likelihoods over sets of rows, trained and untrained.

The paper states neither dimensions nor the size of a set. Chosen here: 256 inputs to 128 dimensions as
in Table 1, sets of ten test rows; the Gaussian is fitted on other rows than it is used on.
"""

from infonce_jax.config import default_config


def get_config():
    config = default_config()
    config.name = "pushforward"
    config.seeds = (0, 1, 2)
    config.data.source = "laplace"
    config.data.dim = 256
    config.data.test_size = 10_000
    config.data.fresh = True
    config.encoder.name = "linear"
    config.encoder.embedding_dim = 128
    config.channel.strength = (0.1, 0.25, 0.5, 1.0, 2.0)
    config.loss.temperature = 0.07
    config.optimizer.learning_rate = 3e-3
    config.train.batch_size = 128
    config.train.steps = 400
    config.log.every_steps = 100
    config.checkpoint.every_steps = 400
    config.evaluate.sample_sizes = (1000,)
    config.report.title = "Pushforward"
    return config
