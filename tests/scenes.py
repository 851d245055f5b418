"""What the tests of pages start from: explanations, differences, drawings and reports of digits."""

from functools import cache

import numpy as np
import torch
from scipy.cluster.hierarchy import leaves_list, linkage

import effpath
from digits_net import class_paths, data, graph, noisy
from effpath.views.difference import difference
from effpath.views.drawing import draw_path
from effpath.views.report.tree import Tree
from overviews import make_overview

ODD = 'a<b>&"c".png'


@cache
def explanations(kind="linear"):
    images = data().test_images
    detector = effpath.Detector(graph(), class_paths(), kind=kind)
    detector.fit(images[:60], None if kind == "clean" else noisy(images[60:120]))
    detector.calibrate(images[120:400], fpr=0.1)
    asked = torch.cat([images[400:401], noisy(images[404:407])])
    names = [ODD, "b.png", "c.png", "d.png"]
    train = data().train_images[:30]
    return effpath.explain(
        detector, asked, names=names, clean=train, clean_names=[f"train/{i}.png" for i in range(30)]
    )


@cache
def differences():
    images = torch.cat([data().test_images[7:8], noisy(data().test_images[7:8])])
    return difference(graph(), images, names=(ODD, "b.png"))


@cache
def drawings(by="neurons"):
    return draw_path(graph(), data().test_images[5], by=by, name=ODD, classes=["<zero>", *"123456789"])


@cache
def judged():
    """A report of a detector and of thirty images, some of which it flags."""
    images = data().test_images
    detector = effpath.Detector(graph(), class_paths(), kind="linear").fit(images[:60], noisy(images[60:120]))
    detector.calibrate(images[120:400], fpr=0.1)
    attacks = {"FGSM": {"settings": {"epsilons": 100}, "tried": 60, "succeeded": 45}}
    detector.about = {"data": "digits", "rows": {"fit": [1, 2], "calibrate": [3]}, "attacks": attacks}
    asked = torch.cat([images[400:425], noisy(images[425:430])])
    return effpath.report(graph(), detector, asked, name="LeNet-5", examples=2)


@cache
def many(count):
    """A report of made-up classes with long names, in an order that is found in a moment."""
    rng = np.random.default_rng(0)
    similarity = rng.uniform(0.1, 0.7, (count, count))
    similarity = (similarity + similarity.T) / 2
    np.fill_diagonal(similarity, 1)
    merges = linkage(1 - similarity[np.triu_indices(count, 1)], "average")
    names = tuple(f"{place} (class of the number {place})" for place in range(count))
    tree = Tree(leaves_list(merges).astype(np.int64), merges)
    return effpath.Report(make_overview(classes=names, similarity=similarity, tree=tree))
