"""The results as a page: the goals beside what was measured, then every row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.goals import goals
from effpath.files.cache import atomic_write

MARK = "<!-- the tables: python -m benchmarks.run --read docs/results/bench.json --page docs/speed.md -->"
Row = dict[str, Any]
Results = dict[str, Any]


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def network_of(row: Row) -> str:
    """Return a network's name without where it is from."""
    name: str = row["network"].partition(":")[2] or row["network"]
    return name.replace("_imagenette", "")


def layers_of(row: Row) -> str:
    """Return which layers a row is of."""
    return "all" if row["layers"] is None else f"last {row['layers']}"


def compared(gate: Row) -> str:
    """Return how many of its layers a comparison was of."""
    some, of = gate["compared_layers"], gate["of_layers"]
    return f"all {of}" if some == of else f"last {some} of {of}"


def spread(row: Row, key: str) -> str:
    """Return a median with its quartiles."""
    low, high = row[f"{key}_ms_quartiles"]
    return f"{row[f'{key}_ms']:.3g} ({low:.3g} – {high:.3g})"


def goal_lines(results: Results) -> list[list[str]]:
    """Return a line for each goal."""
    lines = []
    for goal in goals():
        value = goal.measured(results)
        bounds = " · ".join(f"{'≥' if goal.above else '≤'} {bound:g}" for bound in goal.bounds)
        if value is None:
            lines.append([goal.title, bounds, "not measured", ""])
            continue
        met = goal.met(value)
        outcome = "missed" if not met else "met" if len(goal.bounds) == 1 else f"met {met} of {len(goal.bounds)}"
        lines.append([goal.title, bounds, f"{value:.3g}", outcome])
    return lines


def walk_lines(rows: Sequence[Row]) -> list[list[str]]:
    """Return a line for each extraction."""
    return [
        [
            f"{network_of(row)} ({row['weights'].split(',')[0]})",
            row["preset"],
            layers_of(row),
            *(f"{row[key]:g}" for key in ("theta", "batch", "threads")),
            spread(row, "forward"),
            *(f"{row[f'{key}_ms']:.3g}" for key in ("folded", "record")),
            spread(row, "walk"),
            f"**{row['walk_by_forward']:.2g}**",
            *(f"{row[key]:.2g}" for key in ("walk_by_folded", "walk_us_a_neuron")),
            *(f"{row[key]:,}" for key in ("neurons", "synapses", "products")),
        ]
        for row in rows
    ]


def memory_lines(rows: Sequence[Row]) -> list[list[str]]:
    """Return a line of MB for each full extraction with one thread."""
    keys = ("loaded", "forward", "captured", "extracted", "paths")
    return [
        [network_of(row), row["preset"], f"{row['theta']:g}", f"{row['batch']}"]
        + [
            f"{row['bytes'][key] / 1e6:,.3g}" if key == "paths" else f"{row['bytes'][key] / 1e6:,.0f}"
            for key in keys
        ]
        for row in rows
        if row["threads"] == 1 and row["layers"] is None and row["batch"] > 1
    ]


def tables(results: Results) -> str:
    """Return everything below the mark of the page."""
    walks = [row for row in results["rows"] if row["kind"] != "detector"]
    steps = [row for row in results["rows"] if row["kind"] == "detector"]
    loads = [load for row in results["rows"] for load in row["load_average"]]
    shown, lines = results["machine"], goal_lines(results)
    missing = sum(result == "not measured" for _, _, result, _ in lines)
    parts = [
        f"{len(results['rows'])} rows on {shown['processor']}, {shown['cores']} cores, load average "
        + (f"{min(loads):g} to {max(loads):g}" if loads else "not known")
        + " while measuring; "
        + ", ".join(f"{name} {version}" for name, version in results["versions"].items())
        + f"; up to {results['rounds']} rounds or {results['seconds']:g} s per row, at least 3; "
        + f"{results['wall_s'] / 60:.0f} minutes in total. "
        + (f"A partial run: {missing} of {len(lines)} goals have no rows yet." if missing else ""),
        "## Goals",
        table(["measured", "goal", "result", ""], lines),
        "## Extractions",
        table(
            ["network", "preset", "layers", "θ", "batch", "threads", "forward, ms", "folded", "record", "walk, ms",
             "walk ÷ forward", "÷ folded", "µs per neuron", "active neurons", "chosen synapses", "products"],
            walk_lines(walks),
        ),
        "## Compared with the reference",
        table(
            ["network", "preset", "layers", "θ", "compared", "synapses", "compiled, ms", "reference, ms", "÷"],
            [
                [network_of(gate), gate["preset"], layers_of(gate), f"{gate['theta']:g}",
                 compared(gate), f"{gate['synapses']:,}",
                 f"{gate['compiled_ms']:.3g}", f"{gate['reference_ms']:.4g}",
                 f"{gate['reference_ms'] / gate['compiled_ms']:.3g}"]
                for gate in results["gates"]
            ],
        ),
        "## Detector step",
        table(
            ["network", "classes", "batch", "forward, ms", "step, ms", "÷", "synapses of a class path"],
            [
                [network_of(row), f"{row['classes']}", f"{row['batch']}", spread(row, "forward"),
                 spread(row, "step"), f"**{row['step_by_forward']:.3g}**", f"{row['class_path_synapses']:,}"]
                for row in steps
            ],
        ),
        "## Memory",
        table(
            ["network", "preset", "θ", "batch", "loaded", "forward, peak", "captured", "extraction, peak",
             "paths"],
            memory_lines(walks),
        ),
        "## First start",
        table(
            ["network", "compilation cache", "first extraction, s", "second, s"],
            [
                [network_of(start), start["cache"], f"{start['first_s']:.3g}", f"{start['second_s']:.3g}"]
                for start in results["starts"]
            ],
        ),
    ]  # fmt: skip
    return "\n\n".join(parts)


def write_page(results: Results, file: Path) -> None:
    """Replace all below the mark of a page."""
    above = file.read_text(encoding="utf-8").split(MARK)[0]
    text = f"{above}{MARK}\n\n{tables(results)}\n"
    atomic_write(file, lambda path: path.write_text(text, encoding="utf-8") and None)
