"""The models themselves, where torch and transformers are installed: see CONTRIBUTING."""

import json
import re

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from infonce_jax import embeddings  # noqa: E402
from infonce_jax.pretrained.__main__ import main  # noqa: E402
from infonce_jax.pretrained.models import list_layers, load_encoder  # noqa: E402
from tests.pretrained import small_models  # noqa: E402
from tests.pretrained.pictures import write_captions, write_pictures  # noqa: E402

IMAGE_MODELS = ["clip", "siglip", "dino", "dinov2", "resnet34", "convnext", "densenet"]


@pytest.fixture(scope="module", autouse=True)
def offline():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return small_models.save_all(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "pictures"
    write_pictures(folder)
    return folder


def opened(pictures):
    for file in sorted(pictures.iterdir()):
        image = Image.open(file)
        if image.mode.startswith("I"):
            image = Image.fromarray((np.asarray(image).astype(np.int64) // 257).astype(np.uint8))
        yield image.convert("RGB")


def plain_timm_loop(folder, pictures):
    import timm

    model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model.pretrained_cfg))
    with torch.no_grad():
        return np.stack([model(transform(x)[None])[0].numpy() for x in opened(pictures)])


def plain_loop(folder, pictures):
    """What anyone would write: one picture at a time, and what the model's documentation names."""
    if folder.name == "densenet":
        return plain_timm_loop(folder, pictures)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    rows = []
    for image in opened(pictures):
        inputs = processor(images=image, return_tensors="pt")
        with torch.no_grad():
            if hasattr(model, "get_image_features"):
                z = model.get_image_features(**inputs).pooler_output
            elif folder.name in ("dino", "dinov2"):
                z = model(**inputs).last_hidden_state[:, 0]
            else:
                z = model(**inputs).pooler_output.flatten(1)
        rows.append(z[0].numpy())
    return np.stack(rows)


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_images_of_any_size_and_mode_equal_a_plain_loop(models, pictures, tmp_path, name):
    if name not in models:
        pytest.skip("timm is not installed")
    argv = [models[name], pictures, "--output", tmp_path, "--batch_size", 5, "--device", "cpu"]
    assert main([*map(str, argv), "--random_projection", "3"]) == 0
    stored = embeddings.read(tmp_path / "1")
    expected = plain_loop(models[name], pictures)
    assert expected.std(axis=0).max() > 1e-3
    np.testing.assert_allclose(stored.array("image", "all"), expected, rtol=1e-5, atol=1e-5)
    assert stored.array("image_projected", "all").shape == (len(expected), 3)
    manifest = stored.manifest
    assert manifest["rows"]["all"] == sorted(p.name for p in pictures.iterdir())
    assert manifest["revision"].startswith("sha256:") and manifest["dtype"] == "float32"
    assert manifest["preprocessing"]["class"]


def test_images_with_captions_give_both_towers_row_by_row(models, pictures, tmp_path):
    captions = write_captions(tmp_path / "captions.json", pictures, each=2)
    argv = [models["clip"], pictures, "--captions", captions, "--output", tmp_path / "out"]
    assert main([*map(str, argv), "--batch_size", "4"]) == 0
    stored = embeddings.read(tmp_path / "out" / "1")
    model = transformers.CLIPModel.from_pretrained(models["clip"]).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(models["clip"])
    texts = stored.manifest["texts"]["all"]
    with torch.no_grad():
        expected = np.stack(
            [
                model.get_text_features(**tokenizer([text], return_tensors="pt")).pooler_output[0]
                for text in texts
            ]
        )
    np.testing.assert_allclose(stored.array("text", "all"), expected, rtol=1e-5, atol=1e-5)
    by_file = {}
    for entry in json.loads(captions.read_text())["annotations"]:
        by_file.setdefault(entry["image_id"], entry["caption"])
    assert texts == [by_file[file] for file in stored.manifest["rows"]["all"]]


def test_a_sentence_encoder_pools_as_its_own_files_say(models, tmp_path):
    texts = ["a photo of the cat", "red", "a dog of the car a b c"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(models["bert"])
    model = transformers.AutoModel.from_pretrained(models["bert"]).eval()
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        state = model(**inputs).last_hidden_state
    mask = inputs["attention_mask"][..., None]
    mean = ((state * mask).sum(1) / mask.sum(1)).numpy()
    np.testing.assert_allclose(load_encoder(str(models["bert"])).text(texts), mean, atol=1e-5)
    (models["bert"] / "modules.json").write_text(
        json.dumps(
            [{"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]
        )
    )
    (models["bert"] / "1_Pooling").mkdir()
    (models["bert"] / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    cls = load_encoder(str(models["bert"])).text(texts)
    np.testing.assert_allclose(cls, state[:, 0].numpy(), atol=1e-5)


def test_layers_by_number_and_by_name(models):
    image = [Image.new("RGB", (40, 30), (200, 30, 90)), Image.new("RGB", (20, 60), (0, 120, 9))]
    name = str(models["dino"])
    by_number = load_encoder(name, layer="1", pooling="mean").image(image)
    listed = {layer: shape for _, layer, shape in list_layers(name)}
    module = next(n for n in listed if n.endswith(".0"))
    assert listed["1"] == listed[module] == "(1, 17, 32)"
    np.testing.assert_allclose(
        load_encoder(name, layer=module, pooling="mean").image(image), by_number, atol=1e-6
    )
    # DINO's class token behind the last norm, of the hidden states the one in front of it.
    assert not np.allclose(load_encoder(name, layer="-1").image(image), by_number)
    pixels = load_encoder(str(models["resnet34"]), layer="2").image(image)
    assert pixels.shape == (2, 16)
    both = load_encoder(str(models["clip"]), layer="-1", pooling="cls")
    assert both.image(image).shape == both.text(["a cat", "red"]).shape == (2, 32)


def test_untrained_weights_are_random_and_given_by_the_seed(models, pictures, tmp_path):
    image = [Image.open(sorted(pictures.iterdir())[0]).convert("RGB")]
    name = str(models["resnet34"])
    trained = load_encoder(name).image(image)
    one, again, other = (
        load_encoder(name, untrained=True, seed=seed).image(image) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other) and not np.allclose(one, trained)
    assert main([name, str(pictures), "--output", str(tmp_path), "--untrained"]) == 0
    assert main([name, str(pictures), "--output", str(tmp_path)]) == 0
    assert [path.name for path in embeddings.find_steps(tmp_path)] == ["0", "1"]


def test_what_cannot_be_is_said_in_one_sentence(models, pictures, tmp_path, capsys):
    clip, dino = models["clip"], models["dino"]
    texts = tmp_path / "texts.txt"
    texts.write_text("a cat\nred\n")
    (tmp_path / "no_model").mkdir()
    mixed = tmp_path / "mixed"
    for file in dino.iterdir():
        mixed.mkdir(exist_ok=True)
        (mixed / file.name).write_bytes(file.read_bytes())
    config = json.loads((mixed / "config.json").read_text())
    (mixed / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    for arguments, message in [
        (["no/such-model", pictures], "neither a folder here nor a model that could be fetched"),
        ([tmp_path / "no_model", pictures], "no model can be read from it"),
        ([texts, pictures], "is a file: name the folder of the model"),
        ([mixed, pictures], "no weights for .* parameters of ViTModel, such as"),
        ([dino, pictures, "--layer", "9"], "--layer is 9, and the image tower has 3 hidden states"),
        ([dino, pictures, "--layer", "enc.9"], "no module of this name"),
        ([dino, pictures, "--pooling", "projected"], "has no projection"),
        ([clip, pictures, "--pooling", "projected", "--layer", "1"], "the last layer alone"),
        ([models["resnet34"], pictures, "--pooling", "cls"], "no class token"),
        ([dino, texts], "the data are texts.*encodes images alone"),
        ([dino, pictures, "--device", "cuda:99"], "--device is 'cuda:99'"),
    ]:
        assert main([*map(str, arguments), "--output", str(tmp_path / "out")]) == 2, message
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1
        assert re.search(message, error), error
        assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())
