"""Which output of a network belongs to which class of a data set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from effpath.data.dataset import Dataset
from effpath.errors import InputError, StoreError
from effpath.models.library import imagenet_ids
from effpath.models.predict import output_names, require_two_classes


def align_labels(
    classes: Sequence[str], outputs: int, *namings: Sequence[str], class_map: Mapping[str, int] | None = None
) -> Tensor:
    """Return the output of each class of a data set, int64 [classes].

    By ``class_map`` if it is given; otherwise by name, in the first naming of the outputs that has every class
    (case, and ``_`` for a space, do not matter; ``tench, Tinca tinca`` is both ``tench`` and ``Tinca tinca``);
    otherwise by number, if each class is the number of an output; otherwise in order, if there are as many
    classes as outputs, no naming has any of them, and not all are numbers.

    Args:
        classes: of the data set, in the order of its labels.
        outputs: number of the network's outputs.
        namings: names of the outputs, each in their order, such as the model's ``classes`` and WordNet ids.
        class_map: output by class.

    Raises:
        InputError: the classes cannot be matched, or two of them are the same output.

    Example:
        >>> align_labels(["cat", "bird"], 3, ["bird", "cat", "dog"])
        tensor([1, 0])
    """
    if class_map is not None:
        missing = [name for name in classes if name not in class_map]
        if missing:
            raise InputError(f"the class map has no entry for {', '.join(missing[:5])}; it maps {len(class_map)}")
        found = [int(class_map[name]) for name in classes]
        if not all(0 <= output < outputs for output in found):
            raise InputError(f"the class map names outputs outside 0 … {outputs - 1} (the network's logits)")
        return torch.tensor(found)
    unknown: list[str] = []  # in a naming that has others
    for naming in namings:
        known = _known(naming) if len(naming) == outputs else {}
        missing = [name for name in classes if _plain(name) not in known]
        if not missing:
            return _one_each([known[_plain(name)] for name in classes], classes)
        if len(missing) < len(classes):
            unknown = unknown or missing
    numbers = all(name.isdecimal() for name in classes)
    if numbers and all(int(name) < outputs for name in classes):
        return _one_each([int(name) for name in classes], classes)
    if len(classes) == outputs and not numbers and not unknown:
        return torch.arange(len(classes))
    why = f"; no output is named {', '.join(unknown[:5])}" if unknown else ""
    raise InputError(
        f"the {len(classes)} classes of the data ({', '.join(classes[:3])} …) cannot be matched with the "
        f"network's {outputs} outputs by name or number{why}; give --class-map FILE.json, {{class: output}}, or "
        "--classes N for a network with that many outputs"
    )


def _one_each(found: list[int], classes: Sequence[str]) -> Tensor:
    """Return the outputs as a tensor; InputError if two classes have the same one."""
    first: dict[int, str] = {}
    for output, name in zip(found, classes, strict=True):
        if first.setdefault(output, name) != name:
            raise InputError(
                f"expected one class for each output, got {first[output]} and {name} for output {output}; put "
                "them together, or give --class-map FILE.json, {class: output}"
            )
    return torch.tensor(found)


def read_class_map(file: Path) -> dict[str, int]:
    """Return the output of each class in a JSON file, {class: output}.

    Raises:
        StoreError: the file cannot be read or holds no such table.
    """
    try:
        held = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read the class map {file}: {error}") from error
    if not isinstance(held, dict) or not all(type(output) is int for output in held.values()):
        raise StoreError(f"expected a class map {{class: output}} with numbers as outputs in {file}")
    return held


def _known(naming: Sequence[str]) -> dict[str, int]:
    """Return the output of every name that belongs to one output only."""
    found: dict[str, int] = {}
    twice = set()
    for output, names in enumerate(naming):
        for name in {_plain(names), *(_plain(part) for part in names.split(","))}:
            if found.setdefault(name, output) != output:
                twice.add(name)
    return {name: output for name, output in found.items() if name not in twice}


def _plain(name: str) -> str:
    return name.strip().replace("_", " ").casefold()


def outputs_of(data: Dataset, model: Any, outputs: int, class_map: Path | None = None) -> Tensor:
    """Return the network's output for each class of the data, int64 [classes]; see `align_labels`.

    Args:
        data: labelled by classes of its own.
        model: its ``classes``, where it has them, name the outputs.
        outputs: how many there are.
        class_map: JSON file, {class of the data: output of the network}.

    Raises:
        InputError: the classes cannot be matched.
    """
    return align_labels(
        data.classes,
        outputs,
        tuple(getattr(model, "classes", ())),
        imagenet_ids() if outputs == 1000 else (),
        class_map=None if class_map is None else read_class_map(class_map),
    )


def by_outputs(data: Dataset, model: Any, outputs: int, class_map: Path | None = None) -> Dataset:
    """Return the data labelled by the network's outputs, with the names of the outputs as far as they are known.

    Raises:
        InputError: the classes cannot be matched, or the network has one output.
    """
    require_two_classes(outputs, "a class path of right predictions")
    at = outputs_of(data, model, outputs, class_map)
    names = dict(zip(at.tolist(), data.classes, strict=True))
    return data.relabelled(at, output_names(model, outputs, [names.get(output, "") for output in range(outputs)]))
