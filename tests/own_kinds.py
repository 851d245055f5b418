"""Estimators of one's own, as scikit-learn asks for them: one that reads margins, one for clean images alone."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, OutlierMixin


class LowestMargin(ClassifierMixin, BaseEstimator):
    """Suspicion is how low the lowest of the columns is; it reads margins."""

    reads = "margins"

    def __init__(self, power=1.0):
        self.power = power

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.n_features_in_ = X.shape[1]
        self.center_ = X[y == 0].mean(0)
        return self

    def decision_function(self, X):
        return (np.maximum(self.center_ - X, 0) ** self.power).max(1)

    def predict(self, X):
        return self.classes_[(self.decision_function(X) > 0).astype(int)]


class Distance(OutlierMixin, BaseEstimator):
    """Suspicion is the distance from the mean of the clean rows, in standard deviations."""

    def __init__(self, least=1e-3):
        self.least = least

    def fit(self, X, y=None):
        self.mean_, self.spread_ = X.mean(0), np.maximum(X.std(0), self.least)
        return self

    def score_samples(self, X):
        return -(np.abs(X - self.mean_) / self.spread_).mean(1)

    def predict(self, X):
        return np.where(self.score_samples(X) < -2, -1, 1)
