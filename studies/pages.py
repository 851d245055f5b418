"""Write the generated parts of README.md and of the pages in docs/ from the results.

python studies/pages.py --results docs/results --pages README.md docs/*.md
"""

from __future__ import annotations

from pathlib import Path

import adaptive_page  # noqa: F401  each of these gives parts
import adaptive_patch  # noqa: F401
import attribution.views  # noqa: F401
import conformance  # noqa: F401
import detection.page  # noqa: F401
import five_networks  # noqa: F401
import inside  # noqa: F401
import real_networks  # noqa: F401
from page_parts import fill_file
from sources import parser


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--results", type=Path, default=Path("docs/results"))
    made.add_argument("--pages", type=Path, nargs="+", default=[Path("README.md"), *Path("docs").glob("*.md")])
    options = made.parse_args()
    for page in options.pages:
        if fill_file(page, options.results):
            print(page)


if __name__ == "__main__":
    main()
