"""``effpath store``: what a store of class paths has, and whether every byte of it is what was written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from effpath.cli.options import Output, argument

if TYPE_CHECKING:
    from effpath.class_paths.folder.store import Store


def store(
    folder: Annotated[Path, argument(help="Of a store, from `effpath profile`.")],
    to: Output,
    verify: Annotated[bool, typer.Option("--verify", help="Read every byte, and compare it.")] = False,
) -> None:
    r"""Print what a store of class paths has: data, shards, and images of each class; no network is needed.

    With --verify every byte is read and compared with its checksum; exit code 1 if one differs.

    Examples:

      effpath store classes/

      effpath store classes/ --verify --json
    """
    from effpath.class_paths.folder.store import Store
    from effpath.class_paths.folder.verify import verify as verified
    from effpath.cli.output import print_json
    from effpath.errors import StoreError

    wrong = None
    if verify:
        with to.track(f"bytes of {folder}") as progress:
            wrong = verified(folder, progress)
        if wrong and not to.as_json:
            raise StoreError(f"{len(wrong)} of the files of {folder} are not what was written: {'; '.join(wrong)}")
    opened = Store.open(folder)
    if not to.as_json:
        show(opened)
        if verify:
            print("every byte is what was written")
        return
    about = dict(opened.manifest.about)
    names = about.pop("names")
    classes = [
        {"class": label, "name": names[label] if label < len(names) else "", "used": entry.used,
         "wrong": entry.wrong, "damaged": entry.damaged}
        for label, entry in opened.manifest.classes.items()
    ]  # fmt: skip
    told = {"origins": opened.manifest.origins, "shards": opened.manifest.shards, "waiting": opened.waiting()}
    checked = {} if wrong is None else {"wrong": wrong}
    print_json({**about, **told, "damaged": opened.manifest.damaged, "classes": classes, **checked})
    if wrong:
        raise typer.Exit(1)


def show(opened: Store) -> None:
    """Print the manifest of a store."""
    from effpath.cli.output import print_first

    manifest = opened.manifest
    about, names = manifest.about, manifest.about["names"]
    cells = [
        [str(label), names[label] if label < len(names) else "", *map(str, (each.used, each.wrong, each.damaged))]
        for label, each in manifest.classes.items()
    ]
    more = print_first(["class", "name", "images", "predicted otherwise", "damaged"], cells)
    waiting = len(opened.waiting())
    print(
        f"{len(cells)} classes{more} of {' | '.join(manifest.origins.values()) or 'no images yet'}, "
        f"{sum(manifest.shards.values())} images in {len(manifest.shards)} shards"
        + (f"; {waiting} finished shards wait for the end of their run" if waiting else "")
    )
    options = about["options"]
    print(
        f"preset {options['preset']}, θ {options['theta']}; {', '.join(about['levels'])} of "
        f"{len(about['layers'])} layers, {'with' if about['counts'] else 'without'} use counts; network "
        f"{about['fingerprint'][:12]}"
    )
