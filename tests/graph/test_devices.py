"""Where a model is, what the process allows in float32: neither changes what is extracted."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import effpath
from effpath.errors import CaptureError
from effpath.graph.precision import FullFloat32
from effpath.models.predict import device_of

IMAGES = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
PRECISIONS = ("highest", "high", "medium")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no graphics processor")
needs_single = pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="torch before 2.9")


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(128, 16), nn.ReLU(), nn.Linear(16, 4),
        ).eval()  # fmt: skip


@pytest.fixture(params=PRECISIONS)
def allowed(request):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(request.param)
    yield request.param
    torch.set_float32_matmul_precision(before)


def test_inside_the_block_float32_is_whole_and_afterwards_as_it_was(allowed):
    for _ in range(2):
        with FullFloat32():
            assert torch.get_float32_matmul_precision() == "highest"
            assert not (torch.backends.cudnn.allow_tf32 and torch.cuda.is_initialized())
        assert torch.get_float32_matmul_precision() == allowed
    with pytest.raises(KeyError), FullFloat32():
        raise KeyError
    assert torch.get_float32_matmul_precision() == allowed


@needs_single
def test_settings_of_single_operators_are_kept_too():
    conv, matmul = torch.backends.cudnn.conv, torch.backends.mkldnn.matmul
    before = conv.fp32_precision, matmul.fp32_precision
    conv.fp32_precision, matmul.fp32_precision = "tf32", "bf16"
    try:
        with pytest.raises(RuntimeError):
            print(torch.get_float32_matmul_precision())
        with FullFloat32():
            assert conv.fp32_precision == matmul.fp32_precision == "ieee"
        assert (conv.fp32_precision, matmul.fp32_precision) == ("tf32", "bf16")
    finally:
        conv.fp32_precision, matmul.fp32_precision = before


def test_paths_do_not_depend_on_what_the_process_allows(allowed):
    paths = effpath.extract(effpath.capture(network(), IMAGES), IMAGES)
    torch.set_float32_matmul_precision("highest")
    assert list(paths) == list(effpath.extract(effpath.capture(network(), IMAGES), IMAGES))


def test_a_model_without_weights_is_where_its_buffers_are():
    held = nn.Module()
    held.register_buffer("mask", torch.zeros(2, device="meta"))
    assert device_of(held).type == "meta"
    assert device_of(nn.Module()).type == "cpu"


def test_a_graph_is_moved_as_a_whole_and_stays_where_it_is():
    graph = effpath.capture(network(), IMAGES)
    assert graph.on_cpu is graph
    assert graph.to("cpu") is graph
    moved = graph.to("meta")
    assert {tensor.device.type for tensor in moved.constants.values()} == {"meta"}
    assert moved.device.type == "meta"
    assert moved.fingerprint == graph.fingerprint
    assert graph.device.type == "cpu"


class Padded(nn.Module):
    """Makes a tensor of the size of its batch."""

    def forward(self, x):
        return torch.cat([x.flatten(1).sum(1, keepdim=True), torch.zeros(x.shape[0], 1, device=x.device)], 1)


def test_what_nodes_make_moves_too():
    made = effpath.capture(nn.Sequential(Padded(), nn.Linear(2, 3)).eval(), IMAGES).to("meta")
    found = made.run(IMAGES.to("meta"))
    assert found[made.logits].device.type == "meta"


def test_a_model_elsewhere_that_cannot_be_copied_is_refused_with_what_to_do():
    model = network().to("meta")
    model.held = (each for each in "a generator")
    with pytest.raises(CaptureError, match=r"Sequential on meta cannot be copied to the CPU.*graph\.to\('meta'\)"):
        effpath.capture(model, IMAGES)


@needs_cuda
class TestCuda:
    """A model on a graphics processor, images anywhere."""

    @pytest.fixture(scope="class")
    def pair(self):
        model = network()
        on_cpu = effpath.capture(model, IMAGES)
        return on_cpu, effpath.capture(network().cuda(), IMAGES)

    @pytest.mark.parametrize("where", ["cpu", "cuda"])
    def test_a_model_is_captured_with_an_example_from_anywhere(self, pair, where):
        on_cpu, _ = pair
        graph = effpath.capture(network().cuda(), IMAGES.to(where))
        assert graph.device.type == "cuda"
        assert graph.fingerprint == on_cpu.fingerprint
        torch.testing.assert_close(graph(IMAGES).cpu(), on_cpu(IMAGES), rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("where", ["cpu", "cuda"])
    @pytest.mark.parametrize("backend", ["auto", "compiled", "reference"])
    def test_paths_are_those_of_the_cpu(self, pair, where, backend):
        on_cpu, on_cuda = pair
        found = effpath.extract(on_cuda, IMAGES.to(where), backend=backend)
        assert list(found) == list(effpath.extract(on_cpu, IMAGES))

    def test_the_whole_job(self, pair):
        on_cpu, _ = pair
        labels = on_cpu.predict(IMAGES)
        built = [effpath.build_class_paths(graph, IMAGES, labels) for graph in pair]
        assert built[0].overall == built[1].overall
        made = effpath.attack(network().cuda(), IMAGES, labels, "FGSM", settings={"epsilons": 10})
        assert made.images.device.type == "cpu"
        detectors = [effpath.Detector(graph, built[0], kind="clean").fit(IMAGES) for graph in pair]
        torch.testing.assert_close(*(torch.from_numpy(each.score(IMAGES)) for each in detectors))
