"""What every detector sees of a case, piece by piece, kept on disk: a killed run goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from urllib.parse import quote

from torch import Tensor

import effpath
from detection.cases import Case
from detection.making import Making
from detection.seen import MISTAKES, Piece, Pixels, Seen, assembled, kept, paths_piece, pixels_of, pixels_piece
from detection.signs import SIGNS, Signs, columns_of, measured
from effpath import ClassPaths, Features
from effpath.files.cache import default_cache_dir, fingerprint, state_fingerprint
from effpath.files.progress import track
from rivals import RIVALS

OTHERS = (SIGNS, *RIVALS)  # what is seen beside paths
HEADING = "heading.npz"
UNUSED = ("paper", "gates", "thetas", "theta_sources", "theta_per_class")  # of a case, in what is gathered


class Gathering:
    """What detectors see of a case, in pieces that are kept on disk: what is there is read."""

    def __init__(self, name: str, case: Case, seed: int, device: str = "cpu") -> None:
        """Take a case; ``name`` is that of the network, for tables. Forward passes are made on the device."""
        self.name, self.case = name, case
        self.making = Making(case, seed, device)
        plain = {key: value for key, value in asdict(case).items() if key not in UNUSED}
        key = fingerprint(effpath.__version__, name, plain, seed, state_fingerprint(self.making.model))
        self.folder = default_cache_dir() / "seen" / f"{name}-{key[:24]}"

    @cached_property
    def heading(self) -> Piece:
        """What is said of the case, and its groups; the class paths are kept beside it."""
        return kept(self.folder / HEADING, self._heading)

    @cached_property
    def class_paths(self) -> ClassPaths:
        """The class paths of the training images, built once."""
        store = self.folder / "class_paths"
        if store.exists():
            found = effpath.load_class_paths(store, self.making.graph)
            if found.seen == len(self.making.train):
                return found.loaded()
        return self.making.class_paths(store=store)

    @cached_property
    def look(self) -> Callable[[Tensor], Features]:
        return self.making.look(self.class_paths)

    @cached_property
    def signs(self) -> Signs:
        """What measures the signs of every profile; what they compare images with is kept."""
        making, file = self.making, self.folder / "reference.npz"
        return Signs.of(making.graph, self.class_paths, making.train, self.case.batch, file)

    def paths(self, group: str) -> Piece:
        """Paths of the images of a group, against the class paths of the training images."""
        return kept(self._file("paths", group), lambda: paths_piece(self.look, self.pixels(group)))

    def signs_of(self, group: str) -> Piece:
        """What the signs of every profile show of the images of a group."""
        return kept(self._file(SIGNS, group), lambda: measured(self.signs, self.pixels(group).images))

    def other(self, name: str, groups: Sequence[str]) -> Piece:
        """What the signs, or a rival, measure of the images of groups."""
        if name == SIGNS:
            pieces = {group: self.signs_of(group) for group in groups}
            arrays = {group: columns_of(piece) for group, piece in pieces.items()}
            return Piece(arrays, {"seconds": round(sum(piece.about["seconds"] for piece in pieces.values()), 1)})
        if name == "CDRP" and not self.case.gates:
            return Piece({}, {"seconds": 0.0, "skipped": "left to `--study cdrp`, on fewer images"})
        arrays, seconds = {}, 0.0
        with track(name) as progress:
            for done, group in enumerate(groups, 1):
                show = partial(self.pixels, group)
                piece = kept(self._file(name, group), partial(self.making.measured_by, name, show))
                seconds += piece.about["seconds"]
                if "skipped" in piece.about:
                    return Piece({}, {"seconds": round(seconds, 1), "skipped": piece.about["skipped"]})
                arrays[group] = piece.arrays["found"]
                progress(done, len(groups))
        return Piece(arrays, {"seconds": round(seconds, 1)})

    @property
    def groups(self) -> list[str]:
        """The groups, clean first, then the controls."""
        return list(self.heading.about["groups"]) + list(self.heading.about["controls"])

    @property
    def judged(self) -> list[str]:
        """The groups that detectors are judged on: clean images, attacks, and what the network gets wrong."""
        return self.with_controls(())

    def with_controls(self, beginnings: Sequence[str]) -> list[str]:
        """Return the groups that detectors are judged on, and the controls whose names begin so."""
        of = self.heading.about
        wanted = (name for name in of["controls"] if name == MISTAKES or name.startswith(tuple(beginnings)))
        return [*of["groups"], *wanted]

    def seen(self, others: Sequence[str], groups: Sequence[str] | None = None) -> Seen:
        """Return what is seen of some groups, made where it is not there; of all without."""
        groups = self.groups if groups is None else groups
        paths = {group: self.paths(group) for group in groups}
        pieces = {other: self.other(other, groups) for other in others}
        return assembled(self.case, self.heading, paths, pieces)

    def pixels(self, group: str) -> Pixels:
        """The images of a group, which are written with the heading, so that no process makes them again."""

        def made() -> Piece:
            groups, controls, _ = self.making.made
            return pixels_piece((groups | controls)[group])

        return pixels_of(kept(self._file("images", group), made))

    def _file(self, what: str, group: str) -> Path:
        return self.folder / what / f"{quote(group, safe=' ,')}.npz"

    def _heading(self) -> Piece:
        making, class_paths = self.making, self.class_paths
        pixels, controls, about = making.made
        for group, shots in (pixels | controls).items():
            kept(self._file("images", group), partial(pixels_piece, shots))
        return Piece({}, {
            "network": self.name, "network_fingerprint": making.graph.fingerprint, "data": making.data.name,
            "seed": making.seed, "training_images": len(making.train),
            "theta": class_paths.header.options.theta,
            "layers": [layer.name for layer in class_paths.header.layers],
            "class_path_density": [round(class_paths[c].density(), 5) for c in class_paths.classes],
            **about, "rival_images": len(making.known), "groups": list(pixels), "controls": list(controls),
        })  # fmt: skip


def gather(
    name: str, case: Case, *, seed: int = 0, others: Sequence[str] = OTHERS, controls: Sequence[str] = ("",)
) -> Seen:
    """Return what detectors see of a case; what was gathered before is read from the cache, piece by piece.

    Args:
        name: of the network, for tables.
        case: what is attacked, with what.
        seed: of training, images, attacks and rivals.
        others: what is seen beside paths.
        controls: how the names of images begin that were not attacked and are seen, beside clean ones and natural
            mistakes; all by default.
    """
    gathering = Gathering(name, case, seed)
    return gathering.seen(others, gathering.with_controls(controls))
