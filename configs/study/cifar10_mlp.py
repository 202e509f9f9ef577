"""The study across objectives: a two-layer MLP on CIFAR-10, under every objective.

    python launch.py --config=configs/study/cifar10_mlp.py --workdir=runs/study/cifar10_mlp \
        --config.data.data_dir=~/tensorflow_datasets
    python -m experiments.study

The encoder, the views and the optimizer of the paper's appendix E.1, as in
configs/paper/fig4_cifar10_dynamics.py, on nine classes: no encoder sees the trucks, which stand for the
unknown. Three seeds side by side. Ten epochs; with --config.scale=full the paper's hundred.
"""

from configs.paper.fig4_cifar10_dynamics import get_config as figure_4

# What the published methods state is kept: λ = 0.05 of LeJEPA (β = λ / (1 - λ) = 0.053), and the weights
# inside VICReg and Barlow Twins. Regularisers of InfoNCE get three weights, a factor of ten apart; those
# of norm_entropy are multiples of the theory's β₀.
REGULARISED = {
    "norm_entropy": (0.1, 1.0, 10.0),
    "sigreg": (0.01, 0.1, 1.0),
    "koleo": (0.1, 1.0, 10.0),
}
OTHERS = ("nt_xent", "vicreg", "w_mse", "barlow_twins", "spectral_contrastive", "supervised")


def variants():
    """The objectives of the study by name; step 0 of "infonce" is the untrained encoder."""
    runs = {"infonce": {}}
    for name, weights in REGULARISED.items():
        unit = "vanishing" if name == "norm_entropy" else "absolute"
        runs[f"infonce_{name}"] = {
            "loss.regulariser": name,
            "loss.beta": weights,
            "loss.beta_unit": unit,
        }
    for name in ("sigreg", "visreg"):
        runs[f"prediction_{name}"] = {
            "objective": "prediction",
            "loss.regulariser": name,
            "loss.beta": (0.053, 0.53),
        }
    return runs | {name: {"objective": name} for name in OTHERS}


def get_config():
    config = figure_4()
    config.name = "study_cifar10_mlp"
    config.seeds = (0, 1, 2)
    config.data.held_out_class = 9
    config.log.every_steps = 175
    config.checkpoint.every_steps = 350
    config.embed.epochs = ()
    config.evaluate.sample_sizes = (1000, 10_000)
    config.report.title = "What Gaussianity buys: MLP on CIFAR-10"
    config.report.source = "cifar10"
    return config


def sweep(config):
    size = {"train.epochs": 100.0} if config.scale == "full" else {}
    return {name: size | fields for name, fields in variants().items()}
