"""Model-flops utilisation."""

from types import SimpleNamespace

import pytest

from infonce_jax import data
from infonce_jax.config import default_config
from infonce_jax.training import throughput


def test_model_flops_of_a_linear_encoder_are_those_of_its_product(tiny_config):
    tiny_config.encoder.norm = "none"
    forward = 2 * 16 * (2 * 24 * 8)
    found = throughput.model_flops(tiny_config, data.describe(tiny_config), member_count=2)
    # Standardising rows is not the encoder's; its bias is.
    assert found == pytest.approx(2 * 3 * forward, rel=0.03)
    tiny_config.objective = "supervised"
    assert throughput.model_flops(tiny_config, data.describe(tiny_config)) == pytest.approx(
        found / 4
    )


@pytest.mark.parametrize(("name", "gmacs"), [("resnet18", 1.82), ("resnet50", 4.09)])
def test_model_flops_of_resnets_are_the_published_ones(name, gmacs):
    config = default_config()
    config.encoder.name, config.encoder.stem = name, "imagenet"
    config.encoder.embedding_dim = 1000
    config.train.batch_size = 1
    spec = data.DataSpec((224, 224, 3), True, 1, 1, None)
    found = throughput.model_flops(config, spec) / (3 * 2 * 2 * 1e9)
    # The published counts have products with the padding, an eighth of a 3x3 convolution of 14 x 14.
    assert 0.9 * gmacs < found < 1.01 * gmacs


def test_utilisation_is_of_the_peak_of_all_devices(tiny_config, monkeypatch, unchecked_types):
    found = throughput.rates(10.0, tiny_config, step_flops=1e12)
    assert found == {"steps_per_s": 10.0, "images_per_s": 160.0, "model_tflops_per_s": 10.0}
    # Two of the four cards of one process.
    card = SimpleNamespace(device_kind="NVIDIA H100 80GB HBM3", platform="gpu", process_index=0)
    monkeypatch.setattr(throughput.jax, "devices", lambda: [card] * 4)
    tiny_config.train.devices = 2
    found = throughput.rates(10.0, tiny_config, step_flops=1e12)
    assert found["model_flops_utilisation"] == pytest.approx(10e12 / (2 * 989e12))
    assert throughput.peak_flops("NVIDIA H100 PCIe") == 756e12
