"""Train networks that withstand PGD (Madry et al. 2018): LeNet-5 on MNIST, ResNet-20 on CIFAR-10.

    python studies/robust.py --case lenet_mnist --output DIR/lenet_mnist.json
    python studies/robust.py --case resnet20_cifar10 --device cuda --output DIR/resnet20_cifar10.json

Each step trains on what PGD makes of its images within ε, which rises to its full size in the first third of the
steps. Writes the weights in half precision, to studies/weights/CASE_robust.safetensors, and the accuracy on test
images, clean and attacked by `effpath.attack`: PGD of 40 steps. A killed run goes on after its last finished
epoch. A result that is there is kept. ResNet-20 takes hours on a processor, and minutes with ``--device cuda``.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

import effpath
from effpath.data import Dataset, load_data
from effpath.demo.lenet import LeNet5
from effpath.files.progress import track
from effpath.models.predict import predict
from effpath.models.weights import load_weights
from small_resnet import SmallResNet
from sources import Row, parser
from training import Recipe, device_name, folder_of, run_training, seeded, train, write_half

WEIGHTS = Path(__file__).parent / "weights"
ATTACKED = 1000  # test images at most
JUDGED = 40  # steps of the attack that tells how robust a network is


@dataclass(frozen=True)
class Robust:
    """How a robust network is trained.

    Attributes:
        data: as in `effpath.data.load_data`; variables are expanded.
        make: the network with random weights.
        recipe: of the training.
        epsilon: the bound (L∞) of the attacks in it.
        steps: of each.
    """

    data: str
    make: Callable[[], nn.Module]
    recipe: Recipe
    epsilon: float
    steps: int


ROBUST = {
    "lenet_mnist": Robust(
        "mnist:$EFFPATH_DATA/mnist", LeNet5,
        Recipe(epochs=25, batch_size=256, peak=0.05, decay=1e-4, vary=False), 0.3, 10,
    ),
    "resnet20_cifar10": Robust(
        "cifar10:$EFFPATH_DATA/cifar10", lambda: SmallResNet(10), Recipe(epochs=90, batch_size=128), 8 / 255, 7
    ),
}  # fmt: skip


def lenet_mnist() -> nn.Module:
    """Return the robust LeNet-5."""
    return network("lenet_mnist")


def resnet20_cifar10() -> nn.Module:
    """Return the robust ResNet-20."""
    return network("resnet20_cifar10")


def network(name: str) -> nn.Module:
    """Return a trained network."""
    model = ROBUST[name].make()
    load_weights(model, weights_of(name))
    return model.eval()


def weights_of(name: str) -> Path:
    return WEIGHTS / f"{name}_robust.safetensors"


def descent(
    epsilon: float, steps: int, generator: torch.Generator
) -> Callable[[nn.Module, Tensor, Tensor, float], Tensor]:
    """Return PGD from a random start, of steps of a quarter of the bound, on the cross-entropy."""

    def made(model: nn.Module, images: Tensor, labels: Tensor, share: float) -> Tensor:
        bound = epsilon * min(1.0, 3 * share)
        model.eval()
        start = torch.rand(images.shape, generator=generator, device=generator.device).to(images.device)
        shown = (images + bound * (2 * start - 1)).clamp(0, 1)
        for _ in range(steps):
            shown.requires_grad_(True)
            loss = functional.cross_entropy(model(shown), labels)
            (slope,) = torch.autograd.grad(loss, shown)
            moved = shown.detach() + bound / 4 * slope.sign()
            shown = torch.minimum(torch.maximum(moved, images - bound), images + bound).clamp(0, 1)
        model.train()
        return shown

    return made


def measure(name: str, how: Robust, data: Dataset, weights: Path, device: str = "cpu") -> Row:
    """Train, write the weights, and return their accuracy on the test images, clean and attacked."""
    clock = time.process_time()
    recipe, part, test = how.recipe, data.part("train"), data.part("test")
    model = seeded(how.make, recipe.seed).to(device)
    settings = {**asdict(recipe), "epsilon": how.epsilon, "steps": how.steps}
    opponent = descent(how.epsilon, how.steps, torch.Generator(device).manual_seed(recipe.seed))
    with track(f"training on {len(part)} images") as progress:
        train(
            model, part, recipe, opponent=opponent, after=progress,
            checkpoint=folder_of(f"{name}_robust", settings, part) / "epoch.pt",
        )  # fmt: skip
    write_half(model.cpu(), weights)
    found = predict(model, test.images, 500)
    rows = torch.linspace(0, len(test) - 1, min(ATTACKED, len(test))).long()
    some = test.take(rows)
    judged = {"epsilon": how.epsilon, "steps": JUDGED}
    made = effpath.attack(model, some.images[:], some.labels, "PGD", settings=judged)
    return {
        "network": f"{name}_robust",
        "data": data.name,
        "recipe": asdict(recipe),
        "epsilon": how.epsilon,
        "steps": how.steps,
        "training_images": len(part),
        "test_images": len(test),
        "accuracy": round(float((found == test.labels).double().mean()), 4),
        "attacked_images": len(some),
        "attack": {"name": "PGD", **judged},
        "robust_accuracy": round((made.tried - made.successes) / len(some), 4),
        "parameters": sum(value.numel() for value in model.parameters()),
        "weights_bytes": weights.stat().st_size,
        "device": device_name(device),
        "process_seconds": round(time.process_time() - clock),
    }


def main(words: Sequence[str] | None = None) -> None:
    made = parser(__doc__)
    made.add_argument("--case", required=True, choices=ROBUST)
    made.add_argument("--data", help="instead of the case's")
    made.add_argument("--epochs", type=int, help="instead of the case's")
    made.add_argument("--epsilon", type=float, help="instead of the case's")
    made.add_argument("--seed", type=int, default=0, help="of weights, batches, flips, crops and attacks")

    def trained(options: argparse.Namespace) -> Row:
        how = ROBUST[options.case]
        recipe = replace(how.recipe, seed=options.seed, epochs=options.epochs or how.recipe.epochs)
        how = replace(how, recipe=recipe, epsilon=options.epsilon or how.epsilon)
        data = load_data(options.data or os.path.expandvars(how.data), seed=options.seed)
        return measure(options.case, how, data, weights_of(options.case), options.device)

    run_training(made, words, trained)


if __name__ == "__main__":
    main()
