"""The hooks of a user's model: those that only watch are taken off for torch.export, those that take part stay.

torch.export runs a model on tensors without values. A hook that keeps activations must not see those; a hook of
weight norm, spectral norm or pruning, or one that returns another output, is part of the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import module as everywhere
from torch.utils._pytree import tree_leaves

Hooks = dict[int, Callable[..., Any]]
Watchers = set[tuple[int, int]]  # id of the hooks of a module, and key of one


class _Noted:
    """A hook that is called as before; notes whether it changed anything that the forward pass reads."""

    def __init__(self, hook: Callable[..., Any], *, ahead: bool) -> None:
        self.hook, self.ahead, self.changes = hook, ahead, False

    def __call__(self, module: nn.Module, *arguments: Any) -> Any:
        seen = [leaf for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor)]
        before = [*map(_version, seen)], _tensors_of(module, seen) if self.ahead else None
        result = self.hook(module, *arguments)
        after = [*map(_version, seen)], _tensors_of(module, seen) if self.ahead else None
        self.changes |= result is not None or before != after
        return result


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _tensors_of(module: nn.Module, seen: list[Tensor]) -> dict[str, tuple[int, int]]:
    """Return identity and version of a module's tensors, without those that were kept of its inputs."""
    kept = {tensor.untyped_storage().data_ptr() for tensor in seen}
    held = {**vars(module), **module._parameters, **module._buffers}
    return {
        name: (id(value), _version(value))
        for name, value in held.items()
        if isinstance(value, Tensor) and value.untyped_storage().data_ptr() not in kept
    }


def _hooks_of(model: nn.Module) -> Iterator[tuple[Hooks, bool]]:
    """Yield the forward hooks of each module and of all modules, and whether they run ahead of it."""
    for ahead, kind in ((True, "_forward_pre_hooks"), (False, "_forward_hooks")):
        yield getattr(everywhere, f"_global{kind}"), ahead
        for module in model.modules():
            yield getattr(module, kind), ahead


@contextmanager
def noted_hooks(model: nn.Module) -> Iterator[Watchers]:
    """Call the hooks as usual; afterwards the result holds those that only watched."""
    watching: Watchers = set()
    for hooks, ahead in _hooks_of(model):
        for key, hook in hooks.items():
            hooks[key] = _Noted(hook, ahead=ahead)
    try:
        yield watching
    finally:
        for hooks, _ in _hooks_of(model):
            for key, noted in list(hooks.items()):  # a hook may have removed itself, or added another
                if isinstance(noted, _Noted):
                    hooks[key] = noted.hook
                    if not noted.changes:
                        watching.add((id(hooks), key))


@contextmanager
def without_hooks(model: nn.Module, watching: Watchers) -> Iterator[None]:
    """Take these hooks off; afterwards put all hooks back, in their order."""
    found = [(hooks, dict(hooks)) for hooks, _ in _hooks_of(model)]
    for hooks, _ in found:
        for key in [key for key in hooks if (id(hooks), key) in watching]:
            del hooks[key]
    try:
        yield
    finally:
        for hooks, before in found:
            hooks.clear()
            hooks.update(before)
