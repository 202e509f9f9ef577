"""Which Gaussian mixture starts and ends as in the paper's Table 1? A search over what it leaves open.

    python launch.py --config=configs/paper/search_mixture.py --workdir=runs/paper/mixture
    python -m experiments.paper --only mixture

The paper gives CV 0.08, AD average 0.39 and 100 % for a linear encoder. Appendix E.1 gives 25 components
with fixed random means in 1,024 coordinates, a shared isotropic covariance, pairs from one component,
d = 256 and 100 epochs, but neither the means' scale against the noise, nor batch and τ. Here six scales
(the standard deviation of a mean's coordinate, in standard deviations of a component) and four
temperatures at a batch of 256. Ten epochs, one seed. With --config.scale=full 100 epochs, and a batch
of 64 too.
"""

from configs.paper.search_binary import TEMPERATURES
from infonce_jax.config import default_config
from infonce_jax.runs import grid


def get_config():
    config = default_config()
    config.name = "mixture"
    config.seeds = (0,)
    config.data.source = "mixture"
    config.data.dim = 1024
    config.data.mixture_components = 25
    config.data.train_size = 10_000
    config.data.test_size = 5000
    config.channel.name = "same_component"
    config.encoder.name = "linear"
    config.encoder.initializer = "pytorch"
    config.encoder.embedding_dim = 256
    config.loss.temperature = TEMPERATURES
    config.loss.symmetric = False
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "constant"
    config.train.epochs = 10.0
    config.log.every_steps = 50
    config.evaluate.sample_sizes = (1000,)
    config.report.title = "Gaussian mixture"
    config.report.source = "mixture"
    return config


def sweep(config):
    epochs = 100.0 if config.scale == "full" else 10.0
    scales, batches = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0), (256,)
    if config.scale == "full":
        batches = (64, 256)
    return grid(
        {
            "data.mixture_separation": scales,
            "train.batch_size": batches,
            "train.epochs": (epochs,),
        }
    )
