"""How a detector is made, checked before any work is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from effpath.attacks import ATTACKS
from effpath.attacks.spec import installed, require
from effpath.detect.classifiers import DEFAULT_KIND, reweighs, takes_attacks
from effpath.detect.learned import SAVED
from effpath.detect.metrics import allowed_above, check_enough
from effpath.detect.splits import hold_out
from effpath.errors import InputError, OptionError
from effpath.kernels.options import make_options

ATTACKED_WITH: dict[str, dict[str, Any]] = {"FGSM": {"epsilons": 100}, "PGD": {"steps": 10, "rel_stepsize": 0.25}}
"""What detectors learn from, where no attack is named: cheap ones, far ones and near ones."""
STRENGTHS: dict[str, tuple[float, ...]] = {"PGD": (4 / 255, 8 / 255, 0.1, 0.2, 0.3)}
"""The ``epsilon`` to try, of those that do not find their own: as published for photographs, then for digits."""
ENOUGH = 0.5
"""Share of the attacked images that has to fool the network for an ``epsilon`` to be chosen."""


@dataclass(frozen=True)
class FitOptions:
    """How a detector is made.

    Attributes:
        kind: one that can be saved.
        attacks: settings by name, for kinds that learn from adversarial images or let them weigh signs; none,
            {}, for the latter alone. None takes the usual ones, as strong as the network needs (`strengths`); to
            weigh signs, those whose library is installed.
        preset, theta, layers: of the extraction.
        per_class: only the first N training images per class for the class paths; None for all.
        images: at most N test images for fitting and calibration together; None for half of them, at most 1000.
        fpr: the false positive rate that the threshold is fixed for, in (0, 1).
        held_out_share: of data that are not divided, the share of each class that is taken from training for
            fitting and calibration; None for data with a test or validation part.
        allow_missing: leave out outputs that have no image which the network gets right.
        skip_damaged: leave out images that cannot be read.
        seed: of the choice of images, the attacks and the classifier.
        batch_size: images extracted and attacked together.
    """

    kind: str = DEFAULT_KIND
    attacks: Mapping[str, Mapping[str, Any]] | None = None
    preset: str = "default"
    theta: float | None = None
    layers: int | str | Sequence[str] | None = None
    per_class: int | None = None
    images: int | None = None
    fpr: float = 0.05
    held_out_share: float | None = None
    allow_missing: bool = False
    skip_damaged: bool = False
    seed: int = 0
    batch_size: int = 8

    def check(self) -> None:
        """Say what is wrong with the options, as far as it is known without network and data.

        Raises:
            OptionError: a kind that cannot be saved, an unknown attack or setting, a value outside its range.
            InputError: fewer images than a threshold at this rate needs.
            MissingExtraError: an attack's library is not installed.
            StoreError: an attack's file cannot be read.
        """
        if self.kind not in SAVED:
            raise OptionError(f"expected a kind of {', '.join(SAVED)}, which can be saved, got {self.kind!r}")
        make_options(self.preset, theta=self.theta)
        allowed_above(1, self.fpr)  # refuses a rate outside (0, 1)
        if self.images is not None:
            self.check_count(self.images)
        if self.held_out_share is not None:
            hold_out(torch.zeros(0, dtype=torch.int64), self.held_out_share, self.seed)
        if not takes_attacks(self.kind):
            if self.attacks:
                raise OptionError(
                    f"a detector of kind {self.kind!r} learns from clean images alone: leave out --attack "
                    "(attacks)"
                )
            return
        if self.attacks == {} and not reweighs(self.kind):
            raise OptionError(
                f"a detector of kind {self.kind!r} learns from attacks: name one with --attack (attacks), or "
                f"leave it out for {' and '.join(ATTACKED_WITH)}"
            )
        attacks = self.taught
        unknown = [name for name in attacks if name not in ATTACKS]
        if unknown:
            raise OptionError(f"unknown attacks {', '.join(unknown)}; there are {', '.join(ATTACKS)}")
        for name, settings in attacks.items():
            spec = ATTACKS[name]
            spec.contents(spec.merged(settings))
            if spec.library is not None:
                require(spec.library, name)

    @property
    def taught(self) -> Mapping[str, Mapping[str, Any]]:
        """The attacks that the kind learns from, or that weigh its signs; none for kinds that take no attack."""
        if not takes_attacks(self.kind):
            return {}
        if self.attacks is not None:
            return self.attacks
        missing = self.missing
        return {name: how for name, how in ATTACKED_WITH.items() if name not in missing}

    def strengths(self, name: str) -> list[dict[str, Any]]:
        """Return the settings of an attack to try in turn until enough images fool the network; {} for its own."""
        own = {} if self.attacks is not None else STRENGTHS
        return [{"epsilon": epsilon} for epsilon in own.get(name, ())] or [{}]

    @property
    def missing(self) -> list[str]:
        """The usual attacks that weigh no signs, because the library that they need is not installed."""
        if self.attacks is not None or not reweighs(self.kind):
            return []
        libraries = {name: ATTACKS[name].library for name in ATTACKED_WITH}
        return [name for name, library in libraries.items() if library is not None and not installed(library)]

    def check_count(self, drawn: int) -> None:
        """Raise InputError where half of so many images are too few to fix the threshold at ``fpr``."""
        try:
            check_enough((drawn + 1) // 2, self.fpr)
        except InputError as error:
            raise InputError(
                f"{error}; of {drawn} test images that are drawn (--images; half of them all if not given) one "
                "half fixes the threshold"
            ) from error
