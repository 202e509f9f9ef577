"""The objectives of the study, for every encoder and dataset in it; imported by the configs beside it.

What the published methods state is kept: λ = 0.05 of LeJEPA (β = λ / (1 - λ) = 0.053), the weights
inside VICReg and Barlow Twins. Regularisers of InfoNCE get three weights, a factor of ten apart, of
which the middle one is of the loss's own size; the norm-and-entropy regulariser counts in multiples of
the theory's weight β₀.
"""

REGULARISED = {
    "norm_entropy": (0.1, 1.0, 10.0),
    "sigreg": (0.01, 0.1, 1.0),
    "koleo": (0.1, 1.0, 10.0),
}
OTHERS = ("nt_xent", "vicreg", "w_mse", "barlow_twins", "spectral_contrastive", "supervised")


def variants():
    """The variants of a sweep, by name; step 0 of "infonce" is the untrained encoder."""
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
