"""Detectors of other people, one file each, judged by `effpath.detect.evaluate` on the same images as ours.

A rival is fitted on clean training images alone, ``Rival.fit(graph, images, labels, seed=…)``, and then measures
images, ``rival.measure(images)``: a suspicion of each [N], or columns [N, columns] that a classifier learns from
on the detector's training part. `rivals.table.RIVALS` lists them. None is ours: each file names the source, what
it takes over and what it leaves out.
"""
