"""Training as a pure function of (seed, hyperparameters), compiled once for all members.

`make_program` turns a configuration into functions of arrays. The state of all members travels
together, and nothing else does: which rows a step sees and how they are augmented follows from the
seed and the step number, so a run continues from its state alone, to the bit.

To read it top to bottom: `step.py` (`two_view`, `step_member`, `advance`), then `method.py` and
`model.py`, which it is a function of, then `program.py`, which compiles it.
"""

from infonce_jax.training.blocks import encode_blocks, encode_view_blocks
from infonce_jax.training.method import check_parts, steps_per_epoch, total_steps
from infonce_jax.training.objectives import OBJECTIVES
from infonce_jax.training.program import Program, make_program
from infonce_jax.training.regularisers import REGULARISERS
from infonce_jax.training.state import MemberState, TrainState

__all__ = [
    "OBJECTIVES",
    "REGULARISERS",
    "MemberState",
    "Program",
    "TrainState",
    "check_parts",
    "encode_blocks",
    "encode_view_blocks",
    "make_program",
    "steps_per_epoch",
    "total_steps",
]
