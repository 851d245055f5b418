import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

import effpath
from digits_net import data, graph
from effpath.errors import OptionError


def test_an_npz_holds_every_set_of_every_image(tmp_path):
    images = data().test_images[:5]
    paths = effpath.extract(graph(), images)
    effpath.export_paths(paths, tmp_path / "paths.npz", names=list("abcde"))
    stored = np.load(tmp_path / "paths.npz")
    about = json.loads(str(stored["about"]))
    assert about["fingerprint"] == graph().fingerprint
    assert about["names"] == list("abcde")
    for i, path in enumerate(paths):
        for layer in about["layers"]:
            rows = slice(*stored[f"synapses/{layer}/offsets"][i : i + 2])
            outputs, inputs = path.pairs(layer)
            np.testing.assert_array_equal(stored[f"synapses/{layer}/outputs"][rows], outputs)
            np.testing.assert_array_equal(stored[f"synapses/{layer}/inputs"][rows], inputs)
            rows = slice(*stored[f"neurons/{layer}/offsets"][i : i + 2])
            assert stored[f"neurons/{layer}/ids"][rows].tolist() == list(path.neurons[layer])
            rows = slice(*stored[f"weights/{layer}.weight/offsets"][i : i + 2])
            assert stored[f"weights/{layer}.weight/ids"][rows].tolist() == list(path.weights[f"{layer}.weight"])
    np.testing.assert_array_equal(stored["classes"], paths.classes)


def test_the_stored_pairs_are_flat_ids_of_the_layers_tensors(tmp_path):
    """The last layer by hand: contributions ranked with sorted(), half of the logit reached."""
    image = data().test_images[:1]
    effpath.export_paths(effpath.extract(graph(), image, preset="paper"), tmp_path / "paths.npz")
    stored = np.load(tmp_path / "paths.npz")
    values = graph().run(image, ["relu4", "fc3"])
    hidden, logits = values["relu4"][0], values["fc3"][0]
    winner = int(logits.argmax())
    products = (hidden * graph().constants["fc3.weight"][winner]).tolist()
    ranked = sorted(range(84), key=lambda i: (-products[i], i))
    chosen, total = [], 0.0
    while total < 0.5 * float(logits[winner]):
        chosen.append(ranked[len(chosen)])
        total += products[chosen[-1]]
    assert stored["synapses/fc3/outputs"].tolist() == [winner] * len(chosen)
    assert stored["synapses/fc3/inputs"].tolist() == sorted(chosen)


def test_batches_are_joined_and_safetensors_says_the_same(tmp_path):
    images = data().test_images[:6]
    whole = effpath.extract(graph(), images, layers=3)
    parts = [effpath.extract(graph(), images[:4], layers=3), effpath.extract(graph(), images[4:], layers=3)]
    effpath.export_paths(whole, tmp_path / "paths.npz")
    effpath.export_paths(parts, tmp_path / "paths.safetensors")
    stored = np.load(tmp_path / "paths.npz")
    with safe_open(tmp_path / "paths.safetensors", framework="numpy") as opened:
        assert json.loads(opened.metadata()["effpath"])["layers"] == ["fc1", "fc2", "fc3"]
        assert set(opened.keys()) == set(stored) - {"about"}
        for key in opened.keys():  # noqa: SIM118
            if key == "logits":
                np.testing.assert_allclose(opened.get_tensor(key), stored[key], rtol=1e-5, atol=1e-5)
            else:
                np.testing.assert_array_equal(opened.get_tensor(key), stored[key])
    assert not any(key.startswith("pixels") for key in stored)


def test_another_ending_or_another_network_is_refused(tmp_path):
    paths = effpath.extract(graph(), data().test_images[:1])
    with pytest.raises(OptionError, match=r"ends in \.npz or \.safetensors"):
        effpath.export_paths(paths, tmp_path / "paths.pkl")
    other = effpath.capture(
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3)).eval(), data().test_images
    )
    with pytest.raises(effpath.errors.FingerprintError):
        effpath.export_paths([paths, effpath.extract(other, data().test_images[:1])], tmp_path / "paths.npz")
