"""Paths of images as plain arrays, for other programs to read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from effpath.errors import OptionError
from effpath.files.cache import atomic_write
from effpath.paths.batch import Paths
from effpath.paths.rows import IdRows, Ragged

FORMAT = "effpath-paths-1"


def export_paths(paths: Paths | Sequence[Paths], file: str | FilePath, *, names: Sequence[str] = ()) -> None:
    """Write the sets of each image to an .npz or .safetensors file, atomically.

    Arrays (int64; image i has rows offsets[i] … offsets[i + 1]):

    - ``synapses/LAYER/outputs``, ``…/inputs``, ``…/offsets``: pairs of flat output and input ids, in
      C·H·W order, padding not counted (see `Path.pairs`);
    - ``neurons/LAYER/ids``, ``…/offsets``: active outputs;
    - ``weights/PARAMETER/ids``, ``…/offsets``: flat ids into the parameter;
    - ``pixels/ids``, ``pixels/offsets``: active input elements (where the extraction reaches them);
    - ``classes`` [N], ``logits`` [N, classes];
    - ``about``: JSON text (the metadata in a .safetensors file): format, fingerprint, options, layers, rank,
      names of the images.

    Args:
        paths: of a batch, or of several batches of one network.
        file: ends in .npz or .safetensors.
        names: of the images, one each.

    Raises:
        OptionError: another ending, or batches that do not belong together.
        StoreError: the file cannot be written.
    """
    target = FilePath(file)
    if target.suffix not in (".npz", ".safetensors"):
        raise OptionError(f"expected a file that ends in .npz or .safetensors, got {target}")
    batches = [paths] if isinstance(paths, Paths) else list(paths)
    header = batches[0].header
    for batch in batches[1:]:
        header.check_same(batch.header)
    arrays: dict[str, NDArray[Any]] = {
        "classes": np.concatenate([batch.classes for batch in batches]),
        "logits": np.concatenate([batch.logits for batch in batches]),
    }
    for layer in header.layers:
        found = Ragged.join([batch.synapses[layer.name] for batch in batches])
        outputs, inputs = layer.window.ends(torch.from_numpy(found.values))
        arrays[f"synapses/{layer.name}/outputs"] = outputs.numpy()
        arrays[f"synapses/{layer.name}/inputs"] = inputs.numpy()
        arrays[f"synapses/{layer.name}/offsets"] = found.offsets
        _put(arrays, f"neurons/{layer.name}", [batch.neurons[layer.name] for batch in batches])
    for parameter in header.keys("weights"):
        _put(arrays, f"weights/{parameter}", [batch.weights[parameter] for batch in batches])
    if all(batch.pixels is not None for batch in batches):
        _put(arrays, "pixels", [batch.pixels for batch in batches if batch.pixels is not None])
    about = json.dumps(
        {
            "format": FORMAT,
            "fingerprint": header.fingerprint,
            "options": header.options.to_dict(),
            "layers": [layer.name for layer in header.layers],
            "rank": batches[0].rank,
            "names": list(names),
        }
    )
    if target.suffix == ".safetensors":
        plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        atomic_write(target, lambda temporary: save_file(plain, temporary, {"effpath": about}))
        return

    def write(temporary: FilePath) -> None:
        with temporary.open("wb") as opened:
            np.savez_compressed(opened, about=np.array(about), **arrays)  # type: ignore[arg-type]

    atomic_write(target, write)


def _put(arrays: dict[str, NDArray[Any]], name: str, parts: Sequence[IdRows]) -> None:
    found = Ragged.join(parts)
    arrays[f"{name}/ids"], arrays[f"{name}/offsets"] = found.values, found.offsets
