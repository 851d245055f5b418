"""Networks of torchvision and timm: preprocessing, picture format and names are the library's own."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from PIL import Image

import effpath
from effpath.errors import InputError, MissingExtraError, OptionError, StoreError
from effpath.images import PictureFormat, format_of, read_picture
from effpath.models import from_library, load_model

torchvision = pytest.importorskip("torchvision")
timm = pytest.importorskip("timm")


@pytest.fixture
def picture(tmp_path):
    """A picture of 150×97 pixels, its longer side not divisible by anything convenient."""
    pixels = np.random.default_rng(0).integers(0, 256, (97, 150, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((251, 163)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0", "inception_v3"])
def test_a_picture_through_a_torchvision_model_gives_what_torchvisions_own_pipeline_gives(name, picture):
    model = load_model(f"torchvision:{name}", seed=3)
    transform = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    with torch.no_grad():
        theirs = model.network(transform(Image.open(picture).convert("RGB"))[None])
        ours = model(read_picture(picture, model.picture_format)[None])
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["inception_v4", "resnet18.a1_in1k", "mobilenetv3_small_100", "vit_tiny_patch16_224"]
)
def test_a_picture_through_a_timm_model_gives_what_timms_own_pipeline_gives(name, picture):
    model = load_model(f"timm:{name}")
    settings = timm.data.resolve_data_config(model.network.pretrained_cfg)
    transform = timm.data.create_transform(**settings)
    theirs = transform(Image.open(picture).convert("RGB"))
    ours = model.preprocess(read_picture(picture, model.picture_format)[None])[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_squashed_picture_is_timms_squashed_picture(picture):
    transform = timm.data.create_transform(
        (3, 64, 64), crop_pct=0.9, crop_mode="squash", interpolation="bicubic", mean=(0,) * 3, std=(1,) * 3
    )
    theirs = transform(Image.open(picture).convert("RGB"))
    ours = read_picture(picture, PictureFormat(3, 64, 64, resize=71, interpolation="bicubic", squash=True))
    torch.testing.assert_close(ours, theirs)
    assert load_model("timm:coat_lite_medium_384.in1k").picture_format.squash


def test_preprocessing_is_the_first_layer_and_the_library_keeps_its_names():
    model = load_model("torchvision:resnet18")
    assert next(iter(dict(model.named_children()))) == "preprocess"
    assert set(model.state_dict()) == {f"network.{name}" for name in torchvision.models.resnet18().state_dict()}
    assert model.input_size == (3, 224, 224)
    assert model.picture_format == PictureFormat(3, 224, 224, 256, "bilinear")
    assert format_of(model) == model.picture_format
    assert len(model.classes) == 1000
    assert model.classes[0] == "tench"
    assert not model.training


def test_the_preprocessing_of_other_weights_can_be_chosen():
    assert load_model("torchvision:resnet50").picture_format.resize == 232
    assert load_model("torchvision:resnet50.IMAGENET1K_V1").picture_format.resize == 256
    with pytest.raises(InputError, match="IMAGENET1K_V1, IMAGENET1K_V2"):
        load_model("torchvision:resnet50.V3")
    assert load_model("timm:resnetv2_50").picture_format.shape == (3, 224, 224)
    with pytest.raises(InputError, match="no tag 'v3'"):
        load_model("timm:resnetv2_50.v3")


def test_inception_and_googlenet_scale_their_input_again_as_their_published_weights_want():
    for name in ("inception_v3", "googlenet"):
        assert load_model(f"torchvision:{name}").network.transform_input


def test_the_number_of_classes_can_be_chosen_and_then_they_have_no_names():
    for spec in ("torchvision:resnet18", "timm:resnet18"):
        model = load_model(spec, classes=7)
        assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 7)
        assert model.classes == ()
    with pytest.raises(InputError, match="have the factory"):
        load_model("effpath.demo.lenet:LeNet5", classes=7)


def test_a_timm_model_names_its_imagenet_classes():
    assert load_model("timm:resnet18").classes[1].startswith("goldfish")


def test_random_weights_follow_the_seed_and_leave_the_global_generator_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, again, other = (load_model("torchvision:squeezenet1_1", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    weights = [model.network.features[0].weight for model in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("torchvision:resnet51", "did you mean .*resnet50"),
        ("torchvision:fasterrcnn_resnet50_fpn", "no classification model"),
        ("torchvision:", "no classification model ''"),
        ("timm:inception_v44", "did you mean inception_v4"),
        ("timm:hf-hub:someone/something", "no classification model"),
    ],
)
def test_an_unknown_network_is_refused_with_names_like_it(spec, message):
    assert from_library(spec)
    with pytest.raises(InputError, match=message):
        load_model(spec)


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_a_missing_library_names_the_extra(library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'effpath\[models\]'"):
        load_model(f"{library}:resnet18")


def test_weights_of_the_library_fit_without_a_prefix(tmp_path):
    from safetensors.torch import save_file

    torch.manual_seed(5)
    theirs = torchvision.models.squeezenet1_1().eval()
    save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    model = load_model("torchvision:squeezenet1_1", tmp_path / "w.safetensors")
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(x), theirs((x - model.preprocess.mean) / model.preprocess.std))
    with pytest.raises(StoreError, match="do not fit"):
        load_model("torchvision:squeezenet1_0", tmp_path / "w.safetensors")
    with pytest.raises(StoreError, match="give --classes 1000"):
        load_model("torchvision:squeezenet1_1", tmp_path / "w.safetensors", classes=3)


def test_weights_without_the_auxiliary_heads_fit_a_network_that_trains_with_them(tmp_path):
    from safetensors.torch import save_file

    theirs = torchvision.models.googlenet(weights=None, aux_logits=False, init_weights=False).eval()
    save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    model = load_model("torchvision:googlenet", tmp_path / "w.safetensors")
    assert set(model.network.state_dict()) == set(theirs.state_dict())


def test_a_library_model_extracts_and_a_wrong_layer_name_is_answered_with_the_right_ones():
    model = load_model("torchvision:squeezenet1_1")
    graph = effpath.capture(model, torch.zeros(1, 3, 64, 64))
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    paths = effpath.extract(graph, images, layers=2)
    assert list(paths.synapses) == ["network.features.12.expand3x3", "network.classifier.1"]
    with pytest.raises(OptionError, match=r"network\.features\.0"):
        effpath.extract(graph, images, layers="features.0")
