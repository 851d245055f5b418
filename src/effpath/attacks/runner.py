"""Runs an attack in batches, verifies every success, and keeps each batch on disk."""

from __future__ import annotations

import contextlib
import importlib.metadata
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from effpath.attacks import adversarial_set
from effpath.attacks.adversarial_set import AdversarialSet
from effpath.attacks.saving import EightBit, in_whole_steps, rounded
from effpath.attacks.spec import ANY, AttackSpec, Settings, draw_targets, require
from effpath.attacks.table import ATTACKS
from effpath.errors import InputError, OptionError, StoreError
from effpath.files.cache import fingerprint, note_step, state_fingerprint
from effpath.models.predict import LogitsModel, correct_rows, count_classes, device_of, predict

_REVISION = 2  # part of every cache key; raise it when an attack's result changes


def attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    name: str,
    *,
    settings: Settings | None = None,
    seed: int = 0,
    batch_size: int = 256,
    savable: bool = False,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> AdversarialSet:
    """Attack every image that the model classifies correctly.

    An attack succeeds if the model, given values in [0, 1], predicts another class than the label; a targeted
    attack, if it predicts the target, which the seed draws (`draw_targets`) or the settings name.

    Args:
        model: in eval mode, from pixels in [0, 1] to logits (or a dict or tuple with them, as `effpath.capture`
            takes it); its device is used.
        images: float32 [N, C, H, W] in [0, 1]. Random images are as many, of the same shape.
        labels: int64 [N].
        name: of `ATTACKS`.
        settings: that differ from the defaults.
        seed: of targets and random numbers.
        batch_size: images together. It is part of the result, as the seed is: random numbers are drawn per
            batch, and C&W stops early for a batch as a whole.
        savable: make images that survive being saved with 8 bits per value. Clean images are rounded first, the
            attack sees the network through the rounding and goes on until the rounded image fools it, and only
            rounded images count. An ``epsilon`` is rounded down to whole steps of 1/255.
        cache: a folder (see `effpath.files.cache.default_cache_dir`): a finished result is read back, and an
            interrupted run goes on after its last whole batch; a damaged file is made again, with a warning.
        progress: called with images done and in total.

    Raises:
        OptionError: an unknown attack or setting; a savable epsilon below 1/255.
        InputError: an unfit model, images or labels.
        NumericalError: NaN or infinite logits.
        MissingExtraError: the attack needs Foolbox, which is not installed.
        StoreError: the cache cannot be written.

    Example:
        >>> from effpath.models import load_model
        >>> model = load_model("effpath.demo.lenet:LeNet5")
        >>> attack(model, torch.rand(3, 1, 28, 28), torch.tensor([0, 1, 2]), "Random").fooling.shape
        torch.Size([3, 1, 28, 28])
    """
    if name not in ATTACKS:
        raise OptionError(f"unknown attack {name!r}; expected one of: {', '.join(ATTACKS)}")
    spec = ATTACKS[name]
    merged = spec.merged(settings)
    if batch_size < 1:
        raise OptionError(f"batch_size: expected an integer of at least 1; got {batch_size}")
    require_attackable(model, images, labels)
    images, labels = images.detach().cpu(), labels.cpu()
    if savable:
        merged, images = in_whole_steps(name, merged), rounded(images)
    version = None
    if spec.library is not None:
        require(spec.library, name)
        version = importlib.metadata.version(spec.library)
    files, state = spec.contents(merged), state_fingerprint(model)
    marks = ["savable"] * savable
    key = fingerprint(_REVISION, version, name, merged, files, seed, batch_size, state, images, labels, *marks)
    whole = None if cache is None else cache / f"{name}-{key[:32]}.safetensors"
    result = _recall(whole, key)
    if result is None:
        rows = correct_rows(model, images, labels, batch_size) if spec.from_clean else torch.arange(len(images))
        targets = _targets(spec, merged, labels, model, images, seed)
        none = labels[:0]  # the result where the model classifies no image correctly
        parts = [AdversarialSet(name, merged, images[:0], none, none, none, none, none.bool(), torch.zeros(0, 3))]
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            path = None if whole is None else whole.with_suffix("") / f"{start:08d}.safetensors"
            source = batch if spec.from_clean else torch.full_like(batch, -1)
            part = _recall(path, key)
            if part is None or not torch.equal(part.source, source):
                with repeatable(model, fingerprint(seed, start)):
                    given = images[batch], labels[batch], targets[batch], source
                    part = _attack_batch(model, spec, merged, *given, savable=savable)
                if path is not None:
                    adversarial_set.save(part, path, key)
                    note_step(path)
            parts.append(part)
            if progress is not None:
                progress(start + len(batch), len(rows))
        result = adversarial_set.join(parts)
        if whole is not None:
            adversarial_set.save(result, whole, key)
            note_step(whole)
            shutil.rmtree(whole.with_suffix(""), ignore_errors=True)
    elif progress is not None:
        progress(result.tried, result.tried)
    return result


def require_attackable(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Raise InputError for a model, images or labels that cannot be attacked."""
    if not isinstance(model, nn.Module):
        raise InputError(f"the model must be a torch.nn.Module; got {type(model).__name__}")
    if any(module.training for module in model.modules()):
        raise InputError("the model is in training mode: its predictions change between calls; call model.eval()")
    for what, given in (("images", images), ("labels", labels)):
        if not isinstance(given, Tensor):
            raise InputError(
                f"expected {what} as a tensor, got {type(given).__name__}; convert it: torch.as_tensor of an "
                "array, torch.stack of a list, torch.cat of a loader's batches"
            )
    if images.ndim != 4 or images.dtype != torch.float32 or len(images) == 0:
        raise InputError(
            f"expected float32 images [N, C, H, W], N > 0; got shape {list(images.shape)} of {images.dtype}"
        )
    if labels.shape != (len(images),) or labels.dtype != torch.int64:
        raise InputError(
            f"expected int64 labels, one for each of {len(images)} images; got shape {list(labels.shape)} of "
            f"{labels.dtype}"
        )
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 1):  # NaN fails too
        raise InputError(
            f"images must lie in [0, 1]; got {low:g} to {high:g}. Move the preprocessing into the model"
        )


def _targets(
    spec: AttackSpec, settings: Settings, labels: Tensor, model: nn.Module, images: Tensor, seed: int
) -> Tensor:
    """Return the class to reach of each image, int64 [N]: the one that the settings name, or drawn; else `ANY`."""
    named = settings.get("target", ANY)
    if named == ANY and spec.targeting is None:
        return torch.full_like(labels, ANY)
    classes = count_classes(model, images)
    if named >= classes:
        raise OptionError(f"{spec.name}: setting target: expected one of the {classes} classes; got {named}")
    if spec.targeting is None or named != ANY:
        return torch.full_like(labels, named)
    return draw_targets(labels, classes, seed, spec.targeting)


def _attack_batch(
    model: nn.Module,
    spec: AttackSpec,
    settings: Settings,
    clean: Tensor,
    labels: Tensor,
    targets: Tensor,
    source: Tensor,
    *,
    savable: bool,
) -> AdversarialSet:
    """Run the attack on one batch and keep the candidates that really fool the model."""
    device = device_of(model)
    inputs, truth, aim = clean.to(device), labels.to(device), targets.to(device)
    network: nn.Module = LogitsModel(model)
    aimed = bool((targets != ANY).all())
    found = spec.run(EightBit(network) if savable else network, inputs, aim if aimed else truth, settings)
    candidates = found.detach().clamp(0, 1)
    if savable:
        candidates = rounded(candidates)
    if spec.from_clean:
        finite = candidates.flatten(1).isfinite().all(1)
        candidates = torch.where(finite[:, None, None, None], candidates, inputs)
        predicted = predict(model, candidates).to(device)
        fooled = (predicted != truth) & (candidates != inputs).flatten(1).any(1)
        if aimed:
            fooled &= predicted == aim
        images = torch.where(fooled[:, None, None, None], candidates, inputs).cpu()
        predicted, fooled = torch.where(fooled, predicted, truth).cpu(), fooled.cpu()
        distances = adversarial_set.measure(images, clean)
    else:  # it cannot fail: any class is wrong
        images, labels, predicted = candidates.cpu(), torch.full_like(labels, -1), predict(model, candidates)
        fooled, distances = torch.ones_like(labels, dtype=torch.bool), torch.full((len(labels), 3), torch.nan)
    return AdversarialSet(spec.name, settings, images, source, labels, targets, predicted, fooled, distances)


def _recall(path: Path | None, key: str) -> AdversarialSet | None:
    """Return the set in a file; None if there is none or, with a warning, if it is damaged."""
    if path is None or not path.exists():
        return None
    try:
        return adversarial_set.load(path, key)
    except StoreError as error:
        warnings.warn(f"running a cached attack again: {error}", stacklevel=3)
        return None


@contextlib.contextmanager
def repeatable(model: nn.Module, seed: str) -> Iterator[None]:
    """Seed the generator, enable gradients and freeze the model's parameters; all is restored afterwards."""
    device = device_of(model)
    wanting = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.enable_grad():
        torch.manual_seed(int(seed[:15], 16))
        for parameter in wanting:
            parameter.requires_grad_(False)  # foolbox's backward() would fill their .grad
        try:
            yield
        finally:
            for parameter in wanting:
                parameter.requires_grad_(True)
