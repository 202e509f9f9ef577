"""Seeds side by side against seeds one after another: time, and how far the results differ.

    python -m benchmarks.members

Trains 8 seeds of a linear encoder as one program, and then each alone. Compilation is timed apart,
since separate runs each compile anew.
"""

import argparse
import time

import jax
import numpy as np

from infonce_jax import data as data_lib
from infonce_jax import training
from infonce_jax.config import default_config, members
from infonce_jax.runs.provenance import machine


def timed(config, steps):
    """Seconds to compile, seconds to train, and the trained parameters."""
    config.train.steps = steps
    program = training.make_program(config, data_lib.load(config), members(config))
    start, again = jax.block_until_ready((program.init(), program.init()))
    began = time.perf_counter()
    jax.block_until_ready(program.advance(start, 1))
    compile_s = time.perf_counter() - began
    began = time.perf_counter()
    state, _ = jax.block_until_ready(program.advance(again, steps))
    return compile_s, time.perf_counter() - began, state.members.params


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--dim", type=int, default=256, help="coordinates of the input")
    parser.add_argument("--embedding_dim", type=int, default=32)
    parser.add_argument("--batch_size", type=int, default=128)
    options = parser.parse_args()
    config = default_config()
    config.data.dim = options.dim
    config.encoder.embedding_dim = options.embedding_dim
    config.train.batch_size = options.batch_size

    config.seeds = tuple(range(options.seeds))
    together_compile_s, together_s, together = timed(config, options.steps)
    alone_compile_s = alone_s = difference = 0.0
    for seed in range(options.seeds):
        config.seeds = (seed,)
        compile_s, train_s, alone = timed(config, options.steps)
        alone_compile_s += compile_s
        alone_s += train_s
        for one, all_ in zip(jax.tree.leaves(alone), jax.tree.leaves(together), strict=True):
            difference = max(difference, float(np.abs(one[0] - all_[seed]).max()))
    print(f"machine: {machine()}")
    print(f"{options}")
    print(f"together: compile {together_compile_s:.1f} s, train {together_s:.2f} s")
    print(f"one by one: compile {alone_compile_s:.1f} s, train {alone_s:.2f} s")
    print(f"training alone: {alone_s / together_s:.2f} times as long one by one")
    total = (alone_s + alone_compile_s) / (together_s + together_compile_s)
    print(f"with compilation: {total:.2f} times as long one by one")
    print(f"largest difference of a parameter: {difference:.1e}")


if __name__ == "__main__":
    main()
