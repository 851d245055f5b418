"""What a detected image really shows: how often its rank-2 class, or the class that fits best, is the true one.

Of the attacked test images that are flagged at 5 % false positives, and of those that are not. The guesses: the
class of the rank-2 path; the class that the rank-1 path fits best by use counts; the best fitting one that is
not the predicted class. Images made from no image have no true class. Shares are of the images of five splits
together, intervals a bootstrap over source images.
"""

from __future__ import annotations

import numpy as np

from detection.judge import SEEDS, Protocol, draws_of, interval, judge, settings, share
from detection.seen import Seen
from drawing import Panel, Series
from effpath import Features
from sources import Row

KINDS = ("linear", "surprise")
GUESSES = {"rank 2": "tab:red", "best fit": "tab:blue", "best other fit": "tab:green"}
RATE = 0.05


def measure(seen: Seen, rate: float = RATE) -> Row:
    """Measure how often each guess is right, of detected images and of others."""
    judged = judge(seen, Protocol(KINDS, unseen=seen.unseen, baselines=False, rate=rate))
    sources = len(seen.groups["clean"].source)
    found: Row = {detector: {} for detector in KINDS}
    for group in seen.attacks:
        labels = seen.labels[group.name]
        if not (labels >= 0).any():
            continue
        right = {name: guess == labels for name, guess in guesses(group.features).items()}
        draws = draws_of(group, sources)
        for detector in KINDS:
            times = {"detected": np.zeros(len(labels)), "undetected": np.zeros(len(labels))}  # in how many splits
            for evaluation in judged.evaluations:
                rows = evaluation.test[group.name]
                flagged = evaluation.suspicion[detector][group.name] > evaluation.threshold[detector]
                times["detected"][rows] += flagged
                times["undetected"][rows] += ~flagged
            found[detector][group.name] = {
                part: {
                    "images": round(float(counts.sum()) / len(SEEDS), 1),
                    **{name: interval(share(hits, draws * counts[:, None])) for name, hits in right.items()},
                }
                for part, counts in times.items()
                if counts.any()
            }
    return {"settings": {"rate": rate, **settings(seen)}, "detectors": found}


def guesses(features: Features) -> dict[str, np.ndarray]:
    """Return the guesses of the true class of each image, int64 [N] each."""
    assert features.likelihood is not None
    likelihood = np.nanmean(features.likelihood, axis=1)  # [N, classes]
    known = np.array(features.likelihood_classes)
    likelihood[known == features.classes[:, :1]] = -np.inf
    found = features.classes[:, 1], features.most_likely(), known[likelihood.argmax(1)]
    return dict(zip(GUESSES, found, strict=True))


def panels(network: str, table: Row) -> list[Panel]:
    """Draw the shares by attack, filled for detected images and hollow for others."""
    found = []
    for detector, attacks in table["detectors"].items():
        drawn = [
            Series(
                f"{guess}, {part}", [parts.get(part, {}).get(guess) for parts in attacks.values()],
                style={"color": colour, "markerfacecolor": colour if part == "detected" else "white"},
            )
            for guess, colour in GUESSES.items()
            for part in ("detected", "undetected")
        ]  # fmt: skip
        axes = {"xlabel": "share whose guess is the true class"}
        found.append(Panel(f"{network}, {detector}", drawn, list(attacks), network, (-0.02, 1.02), axes=axes))
    return found
