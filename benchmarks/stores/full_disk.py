"""Build a store on a disk that gets full, one size after the other: what is said, does the store still open?

    python -m benchmarks.stores.full_disk --output docs/results/stores/full_disk.json

The disk is a tmpfs of a few pages, which needs the right to mount one. Whatever a run that ended has left must
open, every byte of it as it was written. Then the disk is made larger, and the same call must end with the files
of a store that had room from the start.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.stores.digits import DigitsJob, contents
from benchmarks.stores.result import source, write_result
from effpath.class_paths.folder.build import fill_store
from effpath.class_paths.folder.options import StoreOptions
from effpath.class_paths.folder.verify import verify
from effpath.errors import StoreError
from effpath.files.progress import track

PAGE = 4096  # bytes
Row = dict[str, Any]
OPTIONS = StoreOptions(shard_size=8)
PER_CLASS = 10  # images


@contextlib.contextmanager
def disk(folder: Path, size: int) -> Iterator[None]:
    """Mount a disk of so many bytes in the block."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def enlarge(folder: Path) -> None:
    """Give the disk more than enough room."""
    subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)


def measure(count: int) -> dict[str, Any]:
    """Return what came of so many sizes, from a page to more than the store needs."""
    with tempfile.TemporaryDirectory() as name:
        job = DigitsJob.make(Path(name))
        work = job.work(OPTIONS, PER_CLASS)
        folder = Path(name) / "disk"
        with disk(folder, 64 << 20):
            fill_store(folder / "store", work, OPTIONS)
            whole = contents(folder / "store")
        errors, stages = 0, dict[str, int]()
        sizes = np.unique(np.linspace(1, 4 * sum(map(len, whole.values())) / PAGE, count).astype(int)).tolist()
        with track("full disks") as progress:
            for done, pages in enumerate(sizes, 1):
                with disk(folder, pages * PAGE):
                    store = folder / "store"
                    try:
                        fill_store(store, work, OPTIONS)
                        stage = "enough room"
                    except StoreError as error:
                        if "No space left on device" not in str(error):
                            raise SystemExit(f"not a clear error: {error}; nothing is reported") from error
                        errors += 1
                        stage = stage_of(store)
                    stages[stage] = stages.get(stage, 0) + 1
                    if store.exists() and (wrong := verify(store)):
                        raise SystemExit(f"after a full disk: {wrong[0]}; nothing is reported")
                    enlarge(folder)
                    fill_store(store, work, OPTIONS)
                    if contents(store) != whole:
                        raise SystemExit(f"{pages} pages: other bytes in the end; nothing is reported")
                progress(done, len(sizes))
        with disk(folder, 256 << 10):
            said = subprocess.run(job.command(folder / "store", "inline", None), capture_output=True, text=True)
    return {
        "disk": "tmpfs", "images": len(work.labels), "store_bytes": sum(map(len, whole.values())),
        "sizes": [PAGE * size for size in (sizes[0], sizes[-1])], "disks": len(sizes), "errors": errors,
        "when": stages,
        "message": {"exit": said.returncode, "said": said.stderr.replace(name, "DIR").strip().splitlines()},
    }  # fmt: skip


def stage_of(store: Path) -> str:
    """Return what a run was doing when its disk was full."""
    if not store.exists():
        return "making the store"
    return "uniting classes" if list((store / "classes").iterdir()) else "writing shards"


def shown(found: Row) -> str:
    """Return what became of full disks."""
    when = ", ".join(f"{count} {stage}" for stage, count in found["when"].items())
    low, high = (size / 1e3 for size in found["sizes"])
    return (
        f"{found['disks']} disks of {low:,.0f} to {high:,.0f} kB ({found['disk']}) for a store of "
        f"{found['store_bytes'] / 1e3:,.0f} kB: {when}. {found['errors']} runs ended with “No space left on "
        "device” and the name of the file; what they left opened, every byte as it was written; with more room "
        f"the same call ended with the bytes of a store that had room from the start. {source(found)}"
    )


def main() -> None:
    """Fill disks, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--disks", type=int, default=60, help="sizes of the disk")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    asked = parser.parse_args()
    write_result(asked.output, "full_disk", measure(asked.disks))


if __name__ == "__main__":
    main()
