"""Train ResNet-20 on CIFAR-100: the network of the case ``resnet20_cifar100``, whose classes form superclasses.

    python studies/cifar100.py --data cifar100:DIR --output docs/results/inside/trained/resnet20_cifar100.json

Writes the weights in half precision, to studies/weights/resnet20_cifar100.safetensors, and their accuracy. A
killed run goes on after its last finished epoch. A result that is there is kept. With ``--device cuda`` an epoch
takes seconds instead of minutes; accuracy is measured on the processor.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from effpath.data import Dataset, load_data
from effpath.files.progress import track
from effpath.models.predict import predict
from effpath.models.weights import load_weights
from small_resnet import SmallResNet
from sources import Row, parser
from training import Recipe, device_name, folder_of, run_training, seeded, train, write_half

NAME = "resnet20_cifar100"
WEIGHTS = Path(__file__).parent / "weights" / f"{NAME}.safetensors"
SUPERCLASSES = {
    "aquatic mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
    "fish": ("aquarium_fish", "flatfish", "ray", "shark", "trout"),
    "flowers": ("orchid", "poppy", "rose", "sunflower", "tulip"),
    "food containers": ("bottle", "bowl", "can", "cup", "plate"),
    "fruit and vegetables": ("apple", "mushroom", "orange", "pear", "sweet_pepper"),
    "household electrical devices": ("clock", "keyboard", "lamp", "telephone", "television"),
    "household furniture": ("bed", "chair", "couch", "table", "wardrobe"),
    "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
    "large carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "large man-made outdoor things": ("bridge", "castle", "house", "road", "skyscraper"),
    "large natural outdoor scenes": ("cloud", "forest", "mountain", "plain", "sea"),
    "large omnivores and herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
    "medium mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
    "non-insect invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "reptiles": ("crocodile", "dinosaur", "lizard", "snake", "turtle"),
    "small mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    "trees": ("maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"),
    "vehicles 1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "vehicles 2": ("lawn_mower", "rocket", "streetcar", "tank", "tractor"),
}
SUPERCLASS_OF = {name: group for group, names in SUPERCLASSES.items() for name in names}
CLASSES = tuple(sorted(SUPERCLASS_OF))  # as CIFAR-100 numbers them


def network() -> SmallResNet:
    """Return the trained network; its outputs are named."""
    model = SmallResNet(len(CLASSES))
    load_weights(model, WEIGHTS)
    model.classes, model.input_size = CLASSES, (3, 32, 32)
    return model.eval()


def measure(data: Dataset, recipe: Recipe, weights: Path = WEIGHTS, device: str = "cpu") -> Row:
    """Train, write the weights, and return their accuracy on the test images."""
    start = time.process_time()
    part, test = data.part("train"), data.part("test")
    model = seeded(partial(SmallResNet, len(data.classes), part.images.shape[1]), recipe.seed).to(device)
    with track(f"training on {len(part)} images") as progress:
        train(model, part, recipe, checkpoint=folder_of(NAME, asdict(recipe), part) / "epoch.pt", after=progress)
    write_half(model.cpu(), weights)
    found = predict(model, test.images, 500)
    groups = [SUPERCLASS_OF.get(name, name) for name in data.classes]
    same = [groups[one] == groups[other] for one, other in zip(found.tolist(), test.labels.tolist(), strict=True)]
    return {
        "network": NAME,
        "data": data.name,
        "recipe": asdict(recipe),
        "training_images": len(part),
        "test_images": len(test),
        "accuracy": round(float((found == test.labels).double().mean()), 4),
        "superclass_accuracy": round(sum(same) / len(same), 4),
        "parameters": sum(value.numel() for value in model.parameters()),
        "weights_bytes": weights.stat().st_size,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "process_seconds": round(time.process_time() - start),
    }


def main(words: Sequence[str] | None = None) -> None:
    made = parser(__doc__)
    made.add_argument("--data", required=True, help="cifar100:DIR")
    made.add_argument("--epochs", type=int, default=Recipe.epochs)
    made.add_argument("--seed", type=int, default=Recipe.seed, help="of weights, batches, flips and crops")

    def trained(options: argparse.Namespace) -> Row:
        recipe = Recipe(epochs=options.epochs, seed=options.seed)
        return measure(load_data(options.data), recipe, device=options.device)

    run_training(made, words, trained)


if __name__ == "__main__":
    main()
