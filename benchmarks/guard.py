"""A regression guard, by ratios only: the compiled walk beside the reference and beside the forward pass.

    python -m benchmarks.guard

A small network of random weights, one image, one thread, process time, medians. The bounds leave at least half of
what was measured, for machines that differ; what is guarded against is a fast path that is no longer taken.
"""

from __future__ import annotations

import torch
from torch import nn

import effpath
from benchmarks.gate import same_sets
from benchmarks.measure import rounds, summary
from effpath.kernels.options import make_options
from effpath.walk.recording import record
from effpath.walk.visit import paths_of

ROUNDS = 7
BY_REFERENCE = 10.0  # the compiled walk is at least so many times faster
BY_FORWARD = 3.0  # and takes at most so many forward passes
BY_FORWARD_LAST = 0.5  # for the last layer


def network(seed: int = 0) -> tuple[nn.Module, torch.Tensor]:
    """Return a network of convolutions as they are in the middle of real ones, and an image."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(3, 64, 5, 2, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
            nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(),
            nn.Conv2d(64, 128, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(128, 128, 1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(2048, 10),
        )  # fmt: skip
        return model.eval(), torch.rand(1, 3, 64, 64)


def ratios() -> dict[str, float]:
    """Return reference ÷ compiled, walk ÷ forward, and the same of the last layer; the sets are compared first."""
    model, image = network()
    graph = effpath.capture(model, image)
    options = make_options("paper")
    full = record(graph, image, options=options, backend="compiled")
    last = record(graph, image, options=options, layers=1, backend="compiled")
    plain = full.plainly()
    if not same_sets(paths_of(full), paths_of(plain)):
        raise SystemExit("the compiled walk gives other sets than the reference")
    works = {
        "forward": lambda: graph.run(image),
        "walk": lambda: paths_of(full),
        "last": lambda: paths_of(last),
        "reference": lambda: paths_of(plain),
    }
    times = summary(rounds(works, 1, ROUNDS, 20.0))
    return {
        "reference ÷ compiled": times["reference_ms"] / times["walk_ms"],
        "walk ÷ forward": times["walk_ms"] / times["forward_ms"],
        "walk of the last layer ÷ forward": times["last_ms"] / times["forward_ms"],
    }


def main() -> None:
    """Print the ratios; fail where one is out of its bound."""
    torch.set_num_threads(1)
    found = ratios()
    print("bench:", ", ".join(f"{name} {value:.3g}" for name, value in found.items()))
    by_reference, by_forward, by_forward_last = found.values()
    slow = []
    if by_reference < BY_REFERENCE:
        slow.append(f"expected the compiled walk {BY_REFERENCE:g} times faster than the reference")
    if by_forward > BY_FORWARD:
        slow.append(f"expected a walk within {BY_FORWARD:g} forward passes")
    if by_forward_last > BY_FORWARD_LAST:
        slow.append(f"expected a walk of the last layer within {BY_FORWARD_LAST:g} forward passes")
    if slow:
        raise SystemExit("; ".join(slow) + ": the walk has become slower, or this machine's forward pass faster")


if __name__ == "__main__":
    main()
