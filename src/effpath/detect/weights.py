"""How much each surprise counts: weights ≥ 0 that tell attacked rows from clean ones best."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

from effpath.detect.scoring import FloatArray

CAP = 8.0  # nats: what is more surprising than one clean image of 3000 teaches no more
PENALTY = 1e-2  # on half the sum of squares


def learned_weights(surprises: FloatArray, adversarial: npt.NDArray[np.bool_], floor: float) -> FloatArray:
    """Return the weights [signs] of surprises [n, signs] in nats: the greatest is 1, the least `floor`.

    A logistic regression under an L2 penalty, both classes alike in weight, none of the slopes below 0 (which is
    no option of scikit-learn's); surprises beyond `CAP` count as `CAP`. Signs that do not help keep the `floor`,
    as attacks that were not trained on may show them. All weights are 1 where no sign helps.
    """
    capped = np.minimum(surprises, CAP)
    side = np.where(adversarial, 1.0, -1.0)
    mass = 0.5 / np.where(adversarial, adversarial.sum(), (~adversarial).sum())
    count = capped.shape[1]

    def loss(point: FloatArray) -> tuple[float, FloatArray]:
        slopes, offset = point[:count], point[count]
        right = side * (capped @ slopes + offset)
        pull = -side * mass * expit(-right)
        gradient = np.append(capped.T @ pull + PENALTY * slopes, pull.sum())
        return float(mass @ np.logaddexp(0, -right) + PENALTY / 2 * slopes @ slopes), gradient

    start = np.append(np.full(count, 0.1), -1.0)
    bounds = [(0, None)] * count + [(None, None)]
    slopes = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x[:count]
    if slopes.max() < 1e-6:
        return np.ones(count)
    weights: FloatArray = np.maximum(slopes / slopes.max(), floor)
    return weights
