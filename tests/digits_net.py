"""A LeNet-5 trained on scikit-learn's digits in two seconds, and what is made from it, once a test run."""

from functools import cache

import torch

import effpath
from effpath.data import load_data
from effpath.demo.lenet import LeNet5
from effpath.demo.train import train_classifier
from effpath.detect.classifiers import reading_of


@cache
def data():
    return load_data("digits")


@cache
def model(seed=0):
    digits = data()
    torch.manual_seed(seed)
    net = LeNet5(image_size=8)
    train_classifier(
        net, digits.train_images, digits.train_labels, epochs=20, seed=seed, batch_size=64, learning_rate=1e-2
    )
    return net


@cache
def graph():
    return effpath.capture(model(), data().train_images[:1])


@cache
def auxiliary():
    """Another network for the same digits."""
    return effpath.capture(model(1), data().train_images[:1])


def auxiliary_of(kind):
    """The other network that a kind, or an estimator, asks; None where it asks none."""
    return auxiliary() if reading_of(kind).asks else None


@cache
def class_paths():
    digits = data()
    described = effpath.Description(digits.classes, "digits[:400]")
    return effpath.build_class_paths(
        graph(), digits.train_images[:400], digits.train_labels[:400], description=described
    )


def noisy(images, seed=0):
    """Images that the network was not made for: a cheap stand-in for an attack."""
    generator = torch.Generator().manual_seed(seed)
    return (images + 0.6 * torch.randn(images.shape, generator=generator)).clamp(0, 1)
