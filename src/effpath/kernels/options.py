"""What decides which contributions are chosen: θ, target, bias, fallback, ties; and the named presets."""

from __future__ import annotations

import numbers
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from effpath.errors import OptionError

_CHOICES = {
    "target": ("output", "sum"),
    "bias": ("value", "candidate"),
    "fallback": ("positive", "argmax"),
    "ties": ("first", "all"),
}


@dataclass(frozen=True)
class Options:
    """How the contributions of one active neuron are selected.

    Attributes:
        theta: share of the neuron's value that the chosen contributions must reach, in (0, 1].
        target: ``"output"`` aims at θ·v, the paper's Eq. 1; ``"sum"`` at θ·Σc, the authors' program.
        bias: ``"value"`` leaves the bias inside v only; ``"candidate"`` ranks it among the summands too
            (chosen, it counts towards the target and leaves no synapse).
        fallback: where the target is not positive or no contribution is: ``"positive"`` takes the prefix
            that reaches θ·Σ(positive c), ``"argmax"`` the single largest.
        ties: for max pooling, ``"first"`` keeps one input, ``"all"`` every input equal to the maximum.
        lone: keep the single largest candidate whenever 1 ÷ (number of candidates) ≥ θ, as the authors'
            program does (so that an add keeps one branch at θ = 0.5).
        gates: follow the paths of data-dependent gates (squeeze-excite, GLU) too.
        preset: the name that these options were made from; stored with every artefact.
    """

    theta: float = 0.5
    target: Literal["output", "sum"] = "output"
    bias: Literal["value", "candidate"] = "value"
    fallback: Literal["positive", "argmax"] = "positive"
    ties: Literal["first", "all"] = "first"
    lone: bool = False
    gates: bool = False
    preset: str = "custom"

    def __post_init__(self) -> None:
        """Check every field; raise OptionError that names the one at fault."""
        real = isinstance(self.theta, numbers.Real) and not isinstance(self.theta, bool)
        if not (real and 0 < self.theta <= 1):
            raise OptionError(f"theta must lie in (0, 1], got {self.theta!r}")
        object.__setattr__(self, "theta", float(self.theta))  # NumPy's numbers too, which JSON cannot take
        for field, allowed in _CHOICES.items():
            if getattr(self, field) not in allowed:
                raise OptionError(f"{field} must be one of {allowed}, got {getattr(self, field)!r}")

    def to_dict(self) -> dict[str, Any]:
        """Return the options as plain values, for JSON."""
        return asdict(self)


PRESETS = {
    "paper": Options(preset="paper"),
    "authors": Options(target="sum", fallback="argmax", ties="all", lone=True, preset="authors"),
    "default": Options(bias="candidate", preset="default"),
}


def make_options(
    preset: str | Options = "default", *, theta: float | None = None, gates: bool | None = None
) -> Options:
    """Return the options of a preset, with θ or gates changed where given.

    Raises:
        OptionError: an unknown preset, or θ outside (0, 1].
    """
    if isinstance(preset, Options):
        options = preset
    elif preset in PRESETS:
        options = PRESETS[preset]
    else:
        raise OptionError(f"unknown preset {preset!r}; one of {', '.join(PRESETS)}, or an Options object")
    changes: dict[str, Any] = {}
    if theta is not None:
        changes["theta"] = theta
    if gates is not None:
        changes["gates"] = gates
    return replace(options, **changes) if changes else options
