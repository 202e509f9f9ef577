"""docs/losses.md: its examples run, and its table names every loss with the options that it takes."""

import inspect
import re
from pathlib import Path

from infonce_jax import losses

PAGE = (Path(__file__).parents[2] / "docs" / "losses.md").read_text()
SHARED = ["where", "weights", "positives", "exclude", "negatives", "reduction", "implementation"]


def test_examples_run():
    names = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, names)


def test_table_names_every_loss_and_its_options():
    rows = re.findall(r"^\| `(\w+)\((.*?)\)` \|.*\|(.*)\|.*\|$", PAGE, re.MULTILINE)
    for name, arrays, takes in rows:
        parameters = inspect.signature(getattr(losses, name)).parameters
        given = [array.split(" ")[0] for array in arrays.split(", ")]
        given = [array for array in given if array not in ("views", "dim]", "batch")]
        assert given == list(parameters)[: len(given)], name
        optional = [o for o in SHARED if o in parameters and o not in given]
        assert re.findall(r"`(\w+)`", takes) == optional, name
    helpers = {"make_queue", "enqueue", "ids_of", "microbatched", "random_directions"}
    helpers |= {"safe_normalize", "InfoNCETerms", "Queue", "ENTROPY_ESTIMATORS"}
    assert {name for name, *_ in rows} == set(losses.__all__) - helpers
