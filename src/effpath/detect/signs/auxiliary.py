"""The auxiliary network: does another network for the same classes believe the answer? (Han et al., 2025)"""

from __future__ import annotations

from effpath.detect.signs.evidence import Evidence
from effpath.detect.signs.log_odds import log_odds
from effpath.detect.signs.sign import FloatArray, Sign
from effpath.errors import InputError, OptionError
from effpath.graph.graph import Graph

AGREED = 0.5
"""Of clean images, the share for which an auxiliary network must say what the network says."""
WORSE = 0.8
"""Below this share a detector that asks it may find less than one that does not."""


class AuxiliaryNetwork(Sign):
    """The log odds that another network gives the predicted class, low where it believes another.

    It is what PID, the prediction inconsistency detector (arXiv 2506.03765), looks at: what fools one network
    rarely fools another of the same skill. A forward pass of the other network, none of this one.
    """

    name = "auxiliary network"
    says = ("another network does not believe it",)
    direction = -1
    needs = frozenset({"auxiliary network"})

    def columns(self, seen: Evidence) -> FloatArray:
        """Measure the log odds, [B, 1]."""
        assert seen.passes.auxiliary is not None
        return log_odds(seen.passes.auxiliary.double().cpu().numpy(), seen.predicted)[:, None]


def check_auxiliary(kind: str, asks: bool, graph: Graph, auxiliary: Graph | None) -> None:
    """Check the other network of a detector.

    Args:
        kind: of the detector.
        asks: whether one of its signs asks another network.
        graph: the network that is guarded.
        auxiliary: the other one, if there is one.

    Raises:
        OptionError: it is missing, or nothing asks it, or it is the same network.
        InputError: it takes other images, or has another number of classes.
    """
    if auxiliary is None:
        if asks:
            raise OptionError(
                f"a detector of kind {kind!r} asks another network for the same classes, got none: give "
                "auxiliary=effpath.capture(other, images), or --auxiliary, or choose kind 'standard'"
            )
        return
    if not asks:
        raise OptionError(
            f"a detector of kind {kind!r} asks no other network: leave out auxiliary, or choose kind 'paired'"
        )
    if (auxiliary.input_shape, auxiliary.classes) != (graph.input_shape, graph.classes):
        raise InputError(
            f"expected an auxiliary network for images {list(graph.input_shape)} of {graph.classes} classes, as "
            f"the network's, got one for {list(auxiliary.input_shape)} of {auxiliary.classes}; let its first "
            "layer resize images, and its last choose and order outputs"
        )
    if auxiliary.fingerprint == graph.fingerprint:
        raise OptionError("expected another network as auxiliary, got the network itself, which always agrees")


def agreed_on(doubts: FloatArray) -> int:
    """Return of how many images another network believes the answer, by its suspicions of them [N]."""
    return int((doubts < 0).sum())


def check_agreement(doubts: FloatArray) -> None:
    """Raise InputError where another network disagrees about most clean images, by its suspicions of them [N]."""
    agreed = agreed_on(doubts) / len(doubts) if len(doubts) else 1.0
    if agreed < AGREED:
        raise InputError(
            f"expected an auxiliary network that agrees with the network on at least {AGREED:.0%} of clean "
            f"images, got {agreed:.0%} of {len(doubts)}: check that its outputs are the same classes in the same "
            "order, and that it takes pixels in [0, 1]"
        )
