"""Records what peers' objectives and measures give, with gradients, in gaussian_peers.npz.

    python -m venv peers
    peers/bin/pip install torch==2.13.0 numpy
    peers/bin/pip install --no-deps lightly==1.6.0 lightly-utils stable-pretraining==0.1.8 \\
        IsoScore==2.0.1 cka-pytorch==1.1.3
    peers/bin/python tests/losses/record_gaussian_peers.py

Run once; the tests need none of these packages. What else the peers import at their top, and use in
no objective, is replaced by empty classes.
"""

import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import torch

N, DIM, DIRECTIONS = 48, 6, 20
_NOT_NEEDED = (
    "torchvision torchvision.ops torchvision.transforms timm lightning lightning.pytorch loguru "
    "transformers transformers.utils tqdm tqdm.autonotebook matplotlib matplotlib.pyplot PIL "
    "mpl_toolkits mpl_toolkits.axes_grid1 stable_pretraining stable_pretraining.backbone "
    "stable_pretraining.callbacks stable_pretraining.callbacks.registry "
    "stable_pretraining.callbacks.queue stable_pretraining.callbacks.utils"
)


class _Empty(types.ModuleType):
    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def _module_of(package, file, name):
    """One file of a package, without the imports of the package itself."""
    folder = next(Path(p) / package for p in sys.path if (Path(p) / package / file).exists())
    spec = importlib.util.spec_from_file_location(name, folder / file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


for _name in _NOT_NEEDED.split():
    sys.modules[_name] = _Empty(_name)

_lejepa = _module_of("lightly", "loss/lejepa_loss.py", "lightly_lejepa_loss")
_visreg = _module_of("lightly", "loss/visreg_loss.py", "lightly_visreg_loss")
_koleo = _module_of("lightly", "loss/koleo_loss.py", "lightly_koleo_loss")
_wmse = _module_of("lightly", "loss/wmse_loss.py", "lightly_wmse_loss")
_stable = _module_of("stable_pretraining", "methods/lejepa.py", "stable_pretraining.methods.lejepa")
_lidar = _module_of(
    "stable_pretraining", "callbacks/lidar.py", "stable_pretraining.callbacks.lidar"
)
_isoscore = _module_of("IsoScore", "IsoScore.py", "isoscore_file")
_hsic = _module_of("cka_pytorch", "hsic.py", "cka_pytorch_hsic")


def in_float64(module):
    """The module with its constants in float64, and not those of float32 cast."""
    module = module.double()
    for part in module.modules():
        if hasattr(part, "phi"):
            part.phi = torch.exp(-(part.t**2) / 2)
            step = part.t[1]
            weights = 2 * step * torch.ones_like(part.t)
            weights[0] = weights[-1] = step
            part.weights = weights * part.phi
    return module


def unit_directions():
    """What lightly draws next from torch's generator, which is at its seed."""
    drawn = torch.randn(DIM, DIRECTIONS, dtype=torch.float64)
    return drawn / drawn.norm(p=2, dim=0)


def main():
    rng = np.random.default_rng(0)
    views = rng.normal(size=(3, N, DIM)) * [0.5, 0.8, 1.0, 1.2, 1.5, 2.0] + 0.3
    torch.manual_seed(0)
    record = {"views": views, "directions": unit_directions().numpy()}

    def measure(name, function):
        z = torch.tensor(views, requires_grad=True)
        torch.manual_seed(0)
        value = function(z)
        value.backward()
        record[name] = value.item()
        record[f"{name} gradient"] = z.grad.numpy()

    sigreg = in_float64(_lejepa.SIGReg(num_vectors=DIRECTIONS))
    measure("lightly SIGReg", sigreg)
    measure(
        "lightly LeJEPALoss",
        lambda z: in_float64(_lejepa.LeJEPALoss(lambda_param=0.2, sigreg_num_vectors=DIRECTIONS))(
            global_proj=z[:2], local_proj=z[2:]
        ),
    )
    epps_pulley = in_float64(_stable.EppsPulley())
    directions = torch.tensor(record["directions"])
    measure(
        "stable-pretraining EppsPulley, pooled",
        lambda z: epps_pulley(z.reshape(-1, DIM) @ directions).mean(),
    )
    measure(
        "lightly VISRegLoss",
        lambda z: _visreg.VISRegLoss(num_slices=DIRECTIONS, lambda_scale=0.7, lambda_center=1.3)(
            global_proj=z[:2], local_proj=z[2:]
        ),
    )
    measure("lightly KoLeoLoss", lambda z: _koleo.KoLeoLoss()(z[0]))

    def whitened(z):
        # The peer's layer makes its identity in float32, so its default dtype is set.
        torch.set_default_dtype(torch.float64)
        whiten = _wmse.Whitening2d(num_features=DIM, track_running_stats=False)
        loss = _wmse.norm_mse_loss(whiten(z[0]), whiten(z[1]))
        torch.set_default_dtype(torch.float32)
        return loss

    measure("lightly W-MSE", whitened)

    lidar = types.SimpleNamespace(
        n_classes=N, samples_per_class=3, delta=1e-4, epsilon=1e-8, name="lidar"
    )
    samples = torch.tensor(views.transpose(1, 0, 2).reshape(-1, DIM))
    record["stable-pretraining LiDAR"] = _lidar.LiDAR._compute_lidar(lidar, samples)["lidar"]
    record["IsoScore"] = _isoscore.IsoScore(views[0]).item()

    gram = [torch.tensor(z @ z.T)[None] for z in views[:2]]
    cross, own1, own2 = (_hsic.hsic1(gram[i], gram[j]).item() for i, j in ((0, 1), (0, 0), (1, 1)))
    record["cka-pytorch HSIC, unbiased"] = cross / np.sqrt(own1 * own2)
    np.savez_compressed(Path(__file__).with_name("gaussian_peers.npz"), **record)
    for name, value in record.items():
        if np.ndim(value) == 0:
            print(f"{name}: {value:.9f}")


if __name__ == "__main__":
    main()
