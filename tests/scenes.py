"""What the tests of pages start from: explanations, differences and drawings of digits."""

from functools import cache

import torch

import effpath
from digits_net import class_paths, data, graph, noisy
from effpath.views.difference import difference
from effpath.views.drawing import draw_path

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
