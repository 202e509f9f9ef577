"""Parts that tests write to a folder outside the package, as a user would."""

CONFIG = """\
from infonce_jax.config import default_config


def get_config():
    c = default_config()
    c.seeds = (0,)
    c.data.source, c.data.dim, c.data.train_size, c.data.test_size = "my_parts:rings", 6, 64, 48
    c.channel.name, c.channel.strength = "my_parts:rotate", 0.3
    c.encoder.name, c.encoder.embedding_dim = "my_parts:Wide", 4
    with c.unlocked():
        c.data.kwargs.rings = 3
        c.encoder.kwargs.width = 12
    c.objective = "my_parts:margin"
    c.loss.regulariser, c.loss.beta = "my_parts:shrink", 0.1
    c.optimizer.name = "my_parts:descent"
    c.evaluate.statistics, c.evaluate.sample_sizes = ("my_parts:spread",), (32,)
    c.train.batch_size, c.train.steps, c.train.epochs = 16, 4, 0.0
    c.log.every_steps, c.checkpoint.every_steps = 2, 2
    return c
"""

PARTS = """\
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from my_helpers import normalised


def rings(key, n, dim, *, rings=2):
    label_key, place_key = jax.random.split(key)
    labels = jax.random.randint(label_key, (n,), 0, rings)
    return normalised(jax.random.normal(place_key, (n, dim))) * (1 + labels[:, None]), labels


def rotate(key, x, strength):
    return x + strength * jax.random.normal(key, x.shape)


class Wide(nn.Module):
    width: int = 8

    @nn.compact
    def __call__(self, x):
        return nn.relu(nn.Dense(self.width)(x))


def margin(z1, z2, *, temperature, slack=0.0):
    similarity = normalised(z1) @ normalised(z2).T / temperature
    loss = jnp.mean(jax.nn.logsumexp(similarity, axis=1) - jnp.diag(similarity)) + slack
    return {"loss": loss, "largest": jnp.max(similarity)}


def shrink(z):
    return jnp.mean(z**2)


def descent(learning_rate):
    return optax.sgd(learning_rate)


def spread(z, labels, *, power=1):
    return {"mean": (abs(z) ** power).mean(), "classes": len(set(labels))}
"""

HELPERS = """\
import jax.numpy as jnp


def normalised(z):
    return z / jnp.linalg.norm(z, axis=-1, keepdims=True)
"""

SWEEP = """

from infonce_jax.runs import grid


def sweep():
    return grid({"encoder.embedding_dim": (3, 4)})
"""


def write(folder):
    """Writes the parts and a config file that names them; returns the config file."""
    (folder / "my_parts.py").write_text(PARTS)
    (folder / "my_helpers.py").write_text(HELPERS)
    (folder / "mine.py").write_text(CONFIG)
    (folder / "family.py").write_text(CONFIG + SWEEP)
    return folder / "mine.py"
