"""A data set in the numbers of a network's outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from effpath.data.dataset import Dataset
from effpath.data.labels import align_labels, read_class_map
from effpath.models.library import imagenet_ids
from effpath.models.predict import output_names, require_two_classes


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
