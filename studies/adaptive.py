"""How much of an attack passes the detector when the attacker knows it: success over the size of the change.

    python studies/adaptive.py --case lenet_digits --output docs/results/adaptive/lenet_digits.json
    python studies/adaptive.py --case alexnet_imagenette --sources 16 --output DIR/alexnet_imagenette.json
    python studies/adaptive.py --plot DIR/*.json --output FILE.png  # and prints the rates

Correctly classified test images are divided into those that detectors are trained on (with the seen attacks),
those that fix the thresholds, and those that are attacked; of digits the first 100, on which defaults of the
attacks were chosen, are not attacked. SR@5 and SR@50 are the shares of the attacked images that are misclassified
and not flagged, with the threshold at 5 % and 50 % false positives. Every attack of `effpath.adaptive` is measured
at every ε, *all* takes the best of them image by image, and *unaware* is PGD by one who knows only the network.
The black box, which sees nothing but decisions, is run once for each threshold, and the better of both is taken.
Detectors without gradient are attacked by way of the linear one. ``paired`` asks the network that PID asks, which
the attacker knows too. ``softmax`` reads the log odds alone: it rejects
what the network is unusually unsure or unusually sure of. A detector whose suspicion is the least there is for
many clean images flags fewer than it may: ``false_positives`` has the shares. Attacks on the training images and
each finished attack on a detector are cached, so that a killed run goes on, until the source of the attacks
changes; a result that is there is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import effpath
from adaptive_page import STEP, draw
from detection.cases import Case, named
from detection.making import for_rivals, open_case
from effpath import ClassPaths, Detector, Features, Graph
from effpath.adaptive import ADAPTIVE, AdaptiveResult, Victim, adaptive_curve, success_rates
from effpath.attacks import AdversarialSet, attack
from effpath.data import Dataset, Part
from effpath.detect import CombinedSurprise, threshold_at_fpr
from effpath.detect.classifiers import PAIRED_KIND, reading_of, takes_attacks
from effpath.detect.features import READINGS, Reading
from effpath.detect.fitting import attack_steps, class_paths_step
from effpath.detect.signs.log_odds import LogOdds
from effpath.detect.signs.profiles import Profile
from effpath.errors import OptionError
from effpath.files.cache import atomic_write, default_cache_dir, fingerprint, note_step
from effpath.files.progress import track
from effpath.models.predict import correct_rows
from rivals.pid import Inconsistency
from sources import Row, run_study
from training import device_name

FPRS = (0.05, 0.5)
GRADIENT = ("linear", "clean", "surprise", "fast", "standard", "softmax")  # detectors whose suspicion has one
SOFTMAX = Profile("softmax", (LogOdds(),))
READINGS[SOFTMAX.name] = Reading(partial(Features.suspicions, says=SOFTMAX.says), (1,), False, SOFTMAX)


@dataclass(frozen=True)
class Trial:
    """How the detectors of one network are attacked; what is not said here is in `OPTIONS`.

    Attributes:
        training: attacks that detectors learn from, by row: name and settings.
        attacks: settings by name of `ADAPTIVE`, beside the norm.
        epsilons, norm: the bounds.
        per_class: training images per class for its path; None for all.
        layers, decided: None for all.
    """

    training: Mapping[str, tuple[str, Row]]
    attacks: Mapping[str, Row]
    epsilons: Sequence[float]
    norm: str = "Linf"
    detectors: Sequence[str] = GRADIENT
    sources: int = 60
    fitted: int = 200
    held_out: int = 200
    spared: int = 0
    per_class: int | None = None
    layers: int | None = None
    guides: int = 20
    decided: int | None = None
    batch: int = 64
    seed: int = 0


SOURCE = [file.read_text() for file in sorted(Path(effpath.adaptive.__file__).parent.glob("*.py"))]  # of attacks
# What the command line takes where nothing is given: of small images, of photographs. L∞ in 1/255.
USUAL: dict[str, tuple[Any, Any]] = {
    "Linf": ((13, 26, 39, 51, 77, 255), (2, 4, 8, 16)), "L2": ((0.5, 1, 1.5, 2, 3, 8), (1, 2, 4, 8)),
    "fitted": (200, 100), "held_out": (200, 150), "spared": (100, 0), "layers": (None, 3), "guides": (20, 5),
    "decided": (None, 6), "batch": (64, 6), "steps": (40, 12), "queries": (20, 4),
}  # fmt: skip


def kind_of(name: str) -> Any:
    """Return what a `Detector` takes as its kind; the softmax's is the stronger of its two surprises."""
    return CombinedSurprise(name, rule="bonferroni") if name == SOFTMAX.name else name


def unaware(detector: Detector, part: Part, made: Mapping[float, AdversarialSet]) -> list[AdaptiveResult]:
    """Return what one finds who knows no detector, by ε: the last images of PGD, scored by the detector."""
    return [
        AdaptiveResult(
            "unaware", {"norm": "Linf"}, epsilon, each.images, part.images[each.source], each.source, each.labels,
            each.predicted, each.succeeded, detector.score(each.images), detector.threshold, 0,
        )
        for epsilon, each in made.items()
    ]  # fmt: skip


def best_of(curves: Sequence[Sequence[AdaptiveResult]]) -> list[AdaptiveResult]:
    """Return at each ε, for each image, the least suspicious misclassified of several attacks."""
    found = []
    for results in zip(*curves, strict=True):
        scores = np.stack([np.where(each.misclassified, each.scores, np.inf) for each in results])
        fooled = np.isfinite(scores).any(0)
        least = np.where(fooled, scores.min(0), results[0].scores)
        found.append(replace(results[0], name="all", misclassified=torch.from_numpy(fooled), scores=least))
    return found


def curve_of(results: Sequence[AdaptiveResult], clean_scores: np.ndarray) -> list[Row]:
    return [
        {
            "epsilon": round(rate.epsilon, 6), "misclassified": round(rate.misclassified, 4),
            **{f"sr{round(100 * fpr)}": round(share, 4) for fpr, share in rate.at.items()},
        }
        for rate in success_rates(results, clean_scores, FPRS)
    ]  # fmt: skip


def kept(file: Path | None, make: Callable[[], list[AdaptiveResult]]) -> tuple[list[AdaptiveResult], float]:
    """Return the curve in a file, and the seconds that it took; without one it is made, and written first."""
    if file is not None and file.exists():
        read = torch.load(file)
        curve = [AdaptiveResult(**{**row, "scores": row["scores"].numpy()}) for row in read["curve"]]
        return curve, read["seconds"]
    start = time.process_time()
    curve = make()
    seconds = round(time.process_time() - start, 1)
    if file is not None:
        rows = [{**vars(each), "scores": torch.from_numpy(each.scores)} for each in curve]
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(file, lambda temporary: torch.save({"curve": rows, "seconds": seconds}, temporary))
        note_step(file)
    return curve, seconds


def told_apart(scores: np.ndarray) -> np.ndarray:
    """Return scores [N] as a detector is known by: without the last bits, which threads and devices change."""
    return np.round(scores, 3)


def attacked_on(
    kind: str, victim: Victim, name: str, trial: Trial, part: Part, held_out: Tensor, cache: Path | None
) -> tuple[list[list[AdaptiveResult]], float]:
    """Return the curves of one attack on one detector, one per threshold for the black box, and the seconds."""
    bounded, detector = ADAPTIVE[name].bounded, victim.detector
    some = part.take(torch.arange(len(part) if bounded else min(len(part), trial.decided or len(part))))
    how = {
        "epsilons": trial.epsilons, "settings": {**trial.attacks[name], "norm": trial.norm}, "seed": trial.seed,
        "batch_size": trial.batch,
    }  # fmt: skip
    runs, spent = [], 0.0
    for fpr in FPRS[:1] if bounded else FPRS:
        detector.calibrate(held_out, fpr=fpr, by_class=False)  # success is counted at one threshold

        def run() -> list[AdaptiveResult]:
            with track(f"{name} on {kind}") as progress:
                return adaptive_curve(victim, some.images[:], some.labels, name, **how, progress=progress)

        followed = None if victim.surrogate is None else told_apart(victim.surrogate.score(held_out))
        scored = told_apart(detector.calibration)
        known = detector.graph.fingerprint, scored, followed, some.images[:], some.labels
        key = fingerprint(SOURCE, kind, name, fpr, how, known, victim.guides)
        curve, seconds = kept(None if cache is None else cache / "adaptive" / f"{key[:32]}.pt", run)
        runs.append(curve)
        spent += seconds
    return runs, spent


@dataclass(frozen=True, eq=False)
class Ground:
    """What the detectors of one network are made of and attacked on; class paths are of the training part.

    Attributes:
        known: training images, of the class paths.
        taught: test images that detectors are fitted on; ``made``: training attacks on them, by row.
        held_out: those that fix the thresholds.
        attacked: those that are attacked.
        mimicked: training images.
        accuracy: of the network.
    """

    model: nn.Module
    graph: Graph
    class_paths: ClassPaths
    known: Part
    taught: Part
    made: Mapping[str, AdversarialSet]
    held_out: Tensor
    attacked: Part
    mimicked: Part
    accuracy: float
    seed: int
    batch: int

    @cached_property
    def auxiliary(self) -> Graph:
        """The network that PID asks; InputError where there is none."""
        known = for_rivals(self.known)
        asked = Inconsistency.fit(self.graph, known.images[:], known.labels, seed=self.seed).auxiliary
        return effpath.capture(asked, known.images[:1])

    def fit(self, kind: str) -> Detector:
        """Return a detector that is fitted, without a threshold."""
        asked = self.auxiliary if kind == PAIRED_KIND else None
        found = Detector(self.graph, self.class_paths, kind=kind_of(kind), auxiliary=asked, seed=self.seed)
        with track(f"what {kind} compares with") as progress:
            found.collect(self.known.images, self.known.labels, batch_size=self.batch, progress=progress)
        heard = kind != SOFTMAX.name and takes_attacks(found.classifier)
        fooling = [each.fooling for each in self.made.values()] if heard else []
        return found.fit(self.taught.images, torch.cat(fooling) if fooling else None)


def prepared(model: nn.Module, data: Dataset, trial: Trial, cache: Path | None) -> Ground:
    """Return what is attacked; all but the class paths is of the test or validation part."""
    train, test = data.part("train"), data.part("test", "val")
    known = train if trial.per_class is None else train.first_of_each_class(trial.per_class)
    batch, seed = trial.batch, trial.seed
    graph = effpath.capture(model, train.images[:1])
    correct = correct_rows(model, test.images[:], test.labels, batch)
    order = correct[torch.randperm(len(correct), generator=torch.Generator().manual_seed(seed))]
    attacked = order[order >= trial.spared][: trial.sources]
    others = order[~torch.isin(order, attacked)]
    learned, held = torch.split(others[: trial.fitted + trial.held_out], [trial.fitted, trial.held_out])
    counts = any(reading_of(kind_of(kind)).wants_likelihood for kind in trial.detectors)
    how = {"seed": seed, "batch_size": batch, "cache": cache}
    building = effpath.BuildOptions(counts=counts, batch_size=batch)
    class_paths = class_paths_step(graph, known, track, layers=trial.layers, options=building)
    taught = Part(test.images[learned], test.labels[learned])
    made = {}
    for row, (name, settings) in trial.training.items():
        (made[row],) = attack_steps(model, taught, {name: settings}, track, **how)
    mimicked = train.first_of_each_class(trial.guides)
    return Ground(
        model, graph, class_paths, known, taught, made, test.images[held],
        Part(test.images[attacked], test.labels[attacked]), Part(mimicked.images[:], mimicked.labels),
        len(correct) / len(test), seed, batch,
    )  # fmt: skip


def measure(model: nn.Module, data: Dataset, trial: Trial, cache: Path | None = None) -> Row:
    """Measure each attack on each detector of one network; ``cache``: the folder of what is finished."""
    ground = prepared(model, data, trial, cache)
    part, held_out, batch = ground.attacked, ground.held_out, trial.batch
    linear = ground.fit("linear")
    blind = {
        epsilon: attack(model, part.images, part.labels, "PGD", settings={"epsilon": epsilon}, batch_size=batch)
        for epsilon in (trial.epsilons if trial.norm == "Linf" else ())
    }
    table, thresholds, flagged = {}, {}, {}
    for kind in trial.detectors:
        detector = ground.fit(kind)
        clean_scores = detector.score(held_out)
        thresholds[kind] = {f"sr{round(100 * fpr)}": threshold_at_fpr(clean_scores, fpr) for fpr in FPRS}
        flagged[kind] = {key: float(np.mean(clean_scores > limit)) for key, limit in thresholds[kind].items()}
        surrogate = None if kind in (*GRADIENT, PAIRED_KIND) else linear
        victim = Victim(detector, model, surrogate, (ground.mimicked.images, ground.mimicked.labels))
        complete: list[list[AdaptiveResult]] = []
        rows: Row = {}
        for name in trial.attacks:
            runs, seconds = attacked_on(kind, victim, name, trial, part, held_out, cache)
            if len(runs[0][0]) == len(part):
                complete += runs
            rates = curve_of(best_of(runs), clean_scores)
            rows[name] = {
                "curve": rates, "attacked": len(runs[0][0]), "queries": sum(run[-1].queries for run in runs),
                "process_seconds": round(seconds, 1), "settings": runs[0][-1].settings,
            }  # fmt: skip
            reached = [(row["epsilon"], row["sr5"], row["sr50"]) for row in rates]
            print(kind, name, seconds, "s", *reached, flush=True)
        rows["all"] = {"curve": curve_of(best_of(complete), clean_scores)}
        if blind:
            detector.calibrate(held_out, fpr=FPRS[0], by_class=False)
            rows["unaware"] = {"curve": curve_of(unaware(detector, part, blind), clean_scores)}
        table[kind] = rows
    return {
        "data": data.name, "norm": trial.norm, "accuracy": round(ground.accuracy, 4),
        "class_path_images": ground.class_paths.images,
        "layers": [layer.name for layer in ground.class_paths.header.layers],
        "attacked": len(part), "fitted": len(ground.taught), "held_out": len(held_out), "spared": trial.spared,
        "guides": len(ground.mimicked), "batch": batch, "seed": trial.seed,
        "training": {
            row: {"succeeded": one.successes, "tried": one.tried, "settings": dict(one.settings)}
            for row, one in ground.made.items()
        },
        "thresholds": thresholds, "false_positives": flagged, "detectors": table,
    }  # fmt: skip


def trial_of(
    case: Case,
    *,
    photographs: bool,
    attacks: Sequence[str] = tuple(ADAPTIVE),
    training: Sequence[str] = ("FGSM", "BIM", "DeepFool"),
    norm: str = "Linf",
    epsilons: Sequence[float] = (),
    confidence: float = 0.5,
    **given: Any,
) -> Trial:
    """Return what the options say, the rest as photographs or small images take it."""
    usual = {**{name: pair[photographs] for name, pair in USUAL.items()}, **given}
    steps, queries, *bounds = (usual.pop(name) for name in ("steps", "queries", "Linf", "L2"))
    descent = {"steps": steps, "judge_every": 3 if photographs else 1}
    slopes = {**descent, "refresh": 2 if photographs else 1, "confidence": confidence}
    once = {**slopes, **({"restarts": 1} if photographs else {})}
    settings: dict[str, Row] = {
        "mimic": {**descent, **({"mimics": 2, "layers": (1, 3)} if photographs else {})},
        "surrogate": {**slopes, **({"tradeoffs": (0.3, 1.0)} if photographs else {})},
        "orthogonal_pgd": once,
        "selective_pgd": once,
        "guided_pgd": {**slopes, **({"starts": 2} if photographs else {})},
        "black_box": {"steps": queries},
    }
    bounds_of = [value / 255 if norm == "Linf" else value for value in epsilons or bounds[norm == "L2"]]
    if norm == "Linf" and min(bounds_of) < STEP:
        raise OptionError(f"expected ε of at least 1/255, below which no image can be saved; got {epsilons}")
    return Trial(
        training={row: (case.attacks[row].attack, dict(case.attacks[row].settings)) for row in training},
        attacks={name: settings[name] for name in attacks},
        epsilons=bounds_of,
        norm=norm, per_class=case.per_class, **usual,
    )  # fmt: skip


def measure_case(
    *,
    case: str = "lenet_digits",
    data: str | None = None,
    model: str | None = None,
    seed: int = 0,
    device: str = "cpu",
    **options: Any,
) -> Row:
    torch.backends.cudnn.allow_tf32 = False  # which is less exact than float32
    chosen = named(case, data=data, model=model, attacks=())
    network, images = open_case(chosen, seed)
    photographs = images.part("test", "val").images[:1].shape[-1] > 64
    trial = trial_of(chosen, photographs=photographs, seed=seed, **options)
    return measure(network.to(device), images, trial, default_cache_dir()) | {"device": device_name(device)}


OPTIONS: dict[str, Row] = {
    "case": {"help": "of studies/detection/cases.py; lenet_digits"},
    "data": {"help": "other data than the case's"},
    "model": {"help": "another model than the case's"},
    "attacks": {"nargs": "+", "help": "all without"},
    "detectors": {"nargs": "+", "help": f"{' '.join(GRADIENT)}; {PAIRED_KIND} too"},
    "training": {"nargs": "+", "help": "rows of the case; FGSM BIM DeepFool"},
    "norm": {"choices": ("Linf", "L2"), "help": "Linf"},
    "epsilons": {"type": float, "nargs": "+", "help": "L∞ in 1/255; without, those of the study"},
    "sources": {"type": int, "help": "attacked images; 60"},
    "fitted": {"type": int, "help": "images to learn from; 200, or 100 photographs"},
    "held-out": {"type": int, "help": "images that fix thresholds; 200, or 150 photographs"},
    "spared": {"type": int, "help": "the first test images, not attacked; 100, or none of photographs"},
    "layers": {"type": int, "help": "the last layers that are read; all, or 3 for photographs"},
    "guides": {"type": int, "help": "training images per class to be mimicked; 20, or 5 photographs"},
    "decided": {"type": int, "help": "images of the black box; all, or 6 photographs"},
    "steps": {"type": int, "help": "of each descent; 40, or 12 for photographs"},
    "confidence": {"type": float, "help": "lead of the other class that is aimed at; 0.5"},
    "queries": {"type": int, "help": "steps of the black box; 20, or 4 for photographs"},
    "batch": {"type": int, "help": "64, or 6 photographs"},
    "device": {"help": "such as cuda: of the network; sets of neurons are the processor's; cpu"},
    "seed": {"type": int, "help": "of the division and of the attacks; 0"},
}

if __name__ == "__main__":
    run_study(__doc__, OPTIONS, measure_case, draw)
