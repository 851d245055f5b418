"""What of a data set a detector is made from: the training part, and what is drawn of the test part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from effpath.data import Dataset, Part
from effpath.detect.fitting.options import FitOptions
from effpath.detect.metrics import check_enough
from effpath.detect.splits import hold_out, split_sources
from effpath.errors import InputError, OptionError
from effpath.images import refuse_known
from effpath.models.predict import predict


@dataclass(frozen=True, eq=False)
class Sources:
    """The images that a detector may be made from.

    Attributes:
        train, train_name: for the class paths, and the name of their part.
        test: for fitting and calibration.
        whole: the part that ``test`` is, or was taken from.
        rows: int64 [len(test)], where its images are in ``whole``.
        about: what `effpath.detect.splits.unseen` needs to find ``whole`` again.
    """

    train: Part
    train_name: str
    test: Part
    whole: Part
    rows: Tensor
    about: dict[str, Any]


def sources_of(data: Dataset, options: FitOptions, note: Callable[[str], None]) -> Sources:
    """Return the images to make a detector from; no picture is read unless damaged ones are to be left out.

    Raises:
        InputError: the data have no test or validation part and no share of them is to be held out.
        OptionError: a share is to be held out of data that are divided already.
    """
    other, share = next((name for name in ("test", "val") if name in data.parts), None), options.held_out_share
    if share is None and (other is None or "train" not in data.parts):
        raise InputError(
            f"expected data with a training part and a test or validation part, got {', '.join(data.parts)} "
            f"in {data.name}; give --held-out-share 0.2 (held_out_share=0.2) to hold a fifth of each class "
            "out of the class paths, to fit and calibrate on"
        )
    if share is not None and other is not None:
        raise OptionError(
            f"expected data without a test or validation part for a share to hold out, got "
            f"{', '.join(data.parts)} in {data.name}; leave out --held-out-share (held_out_share): the part "
            f"{other!r} is held out"
        )
    train_name = "train" if "train" in data.parts else "all"
    name = other or train_name
    whole = _whole(data.part(name), options, note)
    rows = torch.arange(len(whole)) if share is None else hold_out(whole.labels, share, options.seed)
    test = whole if share is None else whole.take(rows)
    options.check_count(_wanted(test, options))
    about = {"part": name, "part_size": len(whole), "skip_damaged": options.skip_damaged}
    if share is None:
        train = _whole(data.part("train"), options, note)
    else:
        kept = torch.ones(len(whole), dtype=torch.bool)
        kept[rows] = False
        train, about["held_out"] = whole.take(kept), rows.tolist()
    if options.per_class is not None:
        train = train.first_of_each_class(options.per_class)
    return Sources(train, train_name, test, whole, rows, about)


def draw(model: nn.Module, part: Part, options: FitOptions, known: Tensor) -> dict[str, Tensor]:
    """Return the rows to fit on and those to calibrate on, ascending; ``wrong`` are those drawn for neither.

    What is drawn is halved without regard to what the network says of it. One half is for calibration as it is,
    with the images that the network gets wrong, so that it is like images to come; of the other half those are for
    fitting that the network gets right.

    Args:
        model: see `fit_detector`.
        part: to draw from.
        options: see there.
        known: int64, classes that may have a class path, repeated or not; an image that is put in another
            one has no score, and does not count for the threshold.

    Raises:
        InputError: too few images on either side.
    """
    order = torch.randperm(len(part), generator=torch.Generator().manual_seed(options.seed))
    drawn = order[: _wanted(part, options)].sort().values
    own = part.take(drawn)
    predicted = predict(model, own.images, options.batch_size)
    right = predicted == own.labels
    try:
        halves = split_sources(drawn.numpy(), fractions={"fit": 0.5, "calibrate": 0.5}, seed=options.seed)
        fit, calibrate = (torch.from_numpy(halves[name]) for name in ("fit", "calibrate"))
        if int(right[fit].sum()) < 2:
            raise InputError("expected at least 2 images to fit on that the network gets right")
        check_enough(int(torch.isin(predicted[calibrate], known).sum()), options.fpr)
    except InputError as error:
        raise InputError(
            f"{error}; {len(own)} images were drawn, of which the network gets {int(right.sum())} right, and one "
            "half is to fit on, the other to calibrate on: give more images (--images), or check that labels and "
            "preprocessing fit the model"
        ) from error
    rows = {"fit": fit[right[fit]], "calibrate": calibrate, "wrong": fit[~right[fit]]}
    return {name: drawn[own] for name, own in rows.items()}


def _wanted(part: Part, options: FitOptions) -> int:
    """Return how many images of the test part are drawn."""
    return min(1000, len(part) // 2) if options.images is None else min(options.images, len(part))


def _whole(part: Part, options: FitOptions, note: Callable[[str], None]) -> Part:
    """Return a part without the images that cannot be read, where these are to be left out."""
    if not options.skip_damaged:
        refuse_known(part.images)
        return part
    whole, damaged = part.readable()
    for name, why in damaged.items():
        note(f"left out, cannot be read: {name}: {why}")
    return whole
