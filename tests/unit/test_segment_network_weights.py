"""A model folder is what its card says, or the run stops."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from volumetry.errors import ModelError
from volumetry.segment import weights
from volumetry.segment.card import PROBE_TOLERANCE
from volumetry.segment.weights import build_network, find_model, fused, load_model, verify_probe
from volumetry.storage.shipped import shipped

CARD = """
name = "tiny"
version = "0.0.1"
[architecture]
name = "{architecture}"
channels = [4, 8]
residual_units = 1
outputs = ["lung", "lesion", "solid"]
[input]
spacing_mm = 1.4
slab_mm = 2.0
hu_low = -1024.0
hu_high = 1200.0
clahe_tiles = 8
clahe_clip = 7.0
slice_side_px = 320
mean = 0.35
deviation = 0.25
pad_multiple = 2
"""


def make_model(folder: Path, architecture: str = "monai-unet-2d", probe_shift: float = 0.0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    network = build_network("monai-unet-2d", 1, (4, 8), 1, 3).eval()
    probe = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        output = torch.sigmoid(network(probe)) + probe_shift
    card = CARD.format(architecture=architecture)
    for key, tensors in (
        ("weights", dict(network.state_dict())),
        ("probe_input", {"input": probe}),
        ("probe_output", {"probabilities": output}),
    ):
        contents = save({name: tensor.contiguous() for name, tensor in tensors.items()})
        (folder / f"{key}.safetensors").write_bytes(contents)
        card += f'[{key}]\nfile = "{key}.safetensors"\nsha256 = "{hashlib.sha256(contents).hexdigest()}"\n'
    (folder / "card.toml").write_text(card, "utf-8")
    return folder


def edit(folder: Path, old: str, new: str) -> None:
    card = folder / "card.toml"
    text = card.read_text("utf-8")
    assert old in text
    card.write_text(text.replace(old, new), "utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_model(tmp_path / "tiny-0.0.1")


def test_a_whole_model_loads_and_reproduces_its_probe(folder: Path) -> None:
    model = load_model(folder)
    assert not model.network.training
    assert verify_probe(model) <= PROBE_TOLERANCE


@pytest.mark.parametrize("name", ["weights", "probe_input", "probe_output"])
def test_one_changed_byte_stops_it(folder: Path, name: str) -> None:
    path = folder / f"{name}.safetensors"
    contents = bytearray(path.read_bytes())
    contents[-1] ^= 1
    path.write_bytes(contents)
    with pytest.raises(ModelError, match=f"{name}.safetensors: sha256") as stop:
        verify_probe(load_model(folder))
    assert stop.value.exit_code == 5


def test_missing_weights_stop_it(folder: Path) -> None:
    (folder / "weights.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot read weights"):
        load_model(folder)


def test_an_architecture_that_is_not_ours_is_never_built(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'os\.system' is not one of"):
        load_model(make_model(tmp_path / "m", architecture="os.system"))


def test_weights_of_another_shape_stop_it(folder: Path) -> None:
    edit(folder, "channels = [4, 8]", "channels = [4, 16]")
    with pytest.raises(ModelError, match="do not fit"):
        load_model(folder)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"weights.safetensors"', '"../weights.safetensors"', "weights.file"),
        ("residual_units = 1", "residual_units = 1\nextra = 1", "architecture.extra"),
        ("channels = [4, 8]", "channels = [4, 8", "not valid TOML"),
        ('name = "tiny"', 'name = "tiny"\nrun = "$import os"', "run"),
    ],
)
def test_a_card_that_says_something_odd_stops_it(folder: Path, old: str, new: str, says: str) -> None:
    edit(folder, old, new)
    with pytest.raises(ModelError, match=says):
        load_model(folder)


def test_a_file_that_is_no_safetensors_stops_it_even_with_the_right_digest(folder: Path) -> None:
    path = folder / "weights.safetensors"
    old, planted = hashlib.sha256(path.read_bytes()).hexdigest(), b"\x80\x04not tensors"
    path.write_bytes(planted)
    edit(folder, old, hashlib.sha256(planted).hexdigest())
    with pytest.raises(ModelError, match="not a safetensors file"):
        load_model(folder)


def test_a_probe_that_comes_out_otherwise_stops_it(tmp_path: Path) -> None:
    model = load_model(make_model(tmp_path / "m", probe_shift=0.01))
    with pytest.raises(ModelError, match=r"off by 0\.01"):
        verify_probe(model)


def test_default_is_the_newest_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "shipped", lambda _: tmp_path)
    with pytest.raises(ModelError, match="no model ships"):
        find_model("default")
    for version in ("0.9.0", "0.10.0", "0.2.0"):
        make_model(tmp_path / f"tiny-{version}")
    make_model(tmp_path / "open-9.0.0")
    assert find_model("default").name == "tiny-0.10.0"
    assert find_model("open-9.0.0").name == "open-9.0.0", "by its name alone"
    assert find_model("tiny-0.2.0").name == "tiny-0.2.0"
    assert find_model(str(tmp_path / "tiny-0.9.0")) == tmp_path / "tiny-0.9.0"
    with pytest.raises(ModelError, match="no model 'absent'"):
        find_model("absent")


def test_the_shipped_model_reproduces_its_probe_and_says_what_it_is() -> None:
    model = load_model(find_model("default"))
    assert verify_probe(model) <= PROBE_TOLERANCE
    assert model.folder.parent == shipped("models")
    assert {"intended_use", "never_tested_on", "data", "split", "metrics", "command", "seed"} <= set(
        model.card.story
    )
    assert "patient" not in json.dumps(sorted(model.card.training_cases)).lower()


def test_folding_the_batch_norms_changes_no_answer() -> None:
    torch.manual_seed(3)
    network = build_network("monai-unet-2d", 2, (4, 8, 16), 2, 3)
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(4, 2, 32, 32) * 2 + 1)  # running means and deviations of their own
    network.eval().requires_grad_(False)
    picture = torch.randn(2, 2, 48, 32)
    expected = network(picture)
    found = fused(network)
    assert not [part for part in found.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    torch.testing.assert_close(found(picture), expected, atol=1e-5, rtol=1e-4)


def test_a_card_calibrates_every_output_or_none(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    card = (folder / "card.toml").read_text("utf-8")
    told = """
[calibration]
level = 0.95
floor_points = 0.1
temperature = {{ lung = 1.0, lesion = 2.0{solid} }}
reference = {{ lesion = 0.1, ground_glass = 0.2, solid = 0.2 }}
widening = {{ lesion = 1.0, ground_glass = 1.0, solid = 1.0 }}
"""
    (folder / "card.toml").write_text(card + told.format(solid=", solid = 4.0"), "utf-8")
    assert load_model(folder).card.temperature == (1.0, 2.0, 4.0)
    (folder / "card.toml").write_text(card + told.format(solid=""), "utf-8")
    with pytest.raises(ModelError, match="calibration"):
        load_model(folder)
    (folder / "card.toml").write_text(card, "utf-8")
    assert load_model(folder).card.temperature == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("cut", ["{ scans = 1.5 }", "{ scans = 0.0 }", "{ xray = 0.5 }"])
def test_a_card_cuts_only_what_there_is_and_at_a_probability(tmp_path: Path, cut: str) -> None:
    folder = make_model(tmp_path / "m")
    told = """
[calibration]
level = 0.95
floor_points = 0.1
temperature = { lung = 1.0, lesion = 2.0, solid = 1.0 }
reference = { lesion = 0.1, ground_glass = 0.2, solid = 0.2 }
widening = { lesion = 1.0, ground_glass = 1.0, solid = 1.0 }
"""
    card = (folder / "card.toml").read_text("utf-8") + told
    (folder / "card.toml").write_text(card + "lesion_probability = { scans = 0.6, slices = 0.4 }", "utf-8")
    assert load_model(folder).card.lesion_probability == {"scans": 0.6, "slices": 0.4}
    (folder / "card.toml").write_text(card + f"lesion_probability = {cut}", "utf-8")
    with pytest.raises(ModelError, match=r"calibration\.lesion_probability"):
        load_model(folder)
