"""Labelled images by name: digits, MNIST, CIFAR, folders of pictures, arrays, torch data sets."""

from effpath.data.dataset import Dataset, Part, from_torch
from effpath.data.labels import align_labels
from effpath.data.load import SCHEMES, load_data

__all__ = ["SCHEMES", "Dataset", "Part", "align_labels", "from_torch", "load_data"]
