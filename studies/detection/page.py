"""The tables of docs/detection.md and of the README."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from detection.cases import CASES
from detection.conditions import KINDS as CORRUPTIONS
from detection.contest import FEW, KINDS
from figures import FIGURES
from figures.cdrp import KINDS as CLASSIFIERS
from figures.further_signs import PATHLESS, WEIGHED
from page_parts import (
    TITLES,
    Lines,
    by_column,
    by_line,
    folder_of,
    judged_before,
    markdown,
    part,
    results_of,
    with_interval,
)
from sources import Row, read_result

CONTROLLED = (
    "linear",
    "surprise",
    "clean",
    "fast",
    "standard",
    "paired",
    "thorough",
    "max softmax",
)  # of what was not attacked
PATCHES = ("Patch sharp", "Patch smooth")


def marks(attack: str, table: Row) -> list[str]:
    """Say what has to be known of a cell: few images, or changes that are larger than need be."""
    row, near = (table.get("attacks", {}).get(name, {}) for name in (attack, "DeepFool"))
    sizes = [each.get("median", {}).get("l2", 0) for each in (row, near)]
    minimal = row.get("minimal", row.get("attack") != "CWL2" or not near or sizes[0] <= sizes[1])
    few = row.get("succeeded", FEW) < FEW
    return ["not minimal"] * (not minimal) + [f"only {row.get('succeeded')} images"] * few


def named(attack: str, said: Sequence[str]) -> str:
    return f"{attack} ({', '.join(said)})" if said else attack


def titled(attack: str, table: Row) -> str:
    """Name an attack with its marks."""
    return named(attack, ["unseen"] * (attack in table["settings"]["unseen"]) + marks(attack, table))


def flagged(tpr: float, fpr: float | None) -> str:
    """Give a true positive rate, and the share of clean images that the same threshold flags."""
    return f"{tpr:.0%}" + ("" if fpr is None else f" ({fpr:.1%})")


def alarms(row: Row) -> float:
    """Return the share of clean test images that a detector flags at 5 %: mistakes too, where they were seen."""
    found: float = row.get("false_alarms", row["fpr"])["0.05"]
    return found


def counts(row: Row) -> str:
    """Give in how many cells a detector is the best or within chance of it; those that tell little apart."""
    kinds = row["kinds"] if "kinds" in row else {"open": row["within_the_best"]}
    words = {"open": "", "ceiling": " at the ceiling", "few": " with few images"}
    return ", ".join(f"{within} of {cells}{words[kind]}" for kind, (within, cells) in kinds.items() if cells)


def summed(rows: Sequence[Row]) -> Row:
    """Add up the cells of several networks."""
    if not all("kinds" in row for row in rows):
        return {"within_the_best": np.sum([row["within_the_best"] for row in rows], axis=0).tolist()}
    return {"kinds": {kind: np.sum([row["kinds"][kind] for row in rows], axis=0).tolist() for kind in KINDS}}


def verdict(cell: Row) -> str:
    """Tell how a detector stands beside the best of the others."""
    return "**lost**" if not cell["within"] else "best" if cell["beyond_best"][0] >= 0 else "within"


@by_line("roc", "accuracy | training images of class paths | clean images | successes / tried, medians")
def images(table: Row) -> Lines:
    """Every network: how many images, how many attacks succeeded, how large they are."""
    attacks = ", ".join(
        f"{name} {row['succeeded']}/{row['tried']}"
        + (f" (L2 {row['median']['l2']:.3g}, L∞ {row['median']['linf']:.2g})" if "l2" in row["median"] else "")
        for name, row in table["attacks"].items()
    )
    sizes = table["sizes"]
    parts = f"{sizes['train']} to train, {sizes['calibrate']} for the threshold, {sizes['test']} tested"
    clean = f"{table['clean_images']}: {parts}"
    yield [f"{table['accuracy']:.1%}", str(table["training_images"]), clean, attacks]


@by_line("detectors", "images of attacks | patches | cells | C&W")
def rules(table: Row) -> Lines:
    """Which networks are measured by which rules."""
    attacks = table["attacks"]
    saved = any(row.get("floats") for row in attacks.values())
    patches = [
        sum("target" in each for each in row.get("patches", ()))
        for name, row in attacks.items()
        if name.startswith("Patch")
    ]
    trained = "trained on training images" if saved else "one per batch, trained on the attacked images"
    searched = [row["minimal"] for row in attacks.values() if "minimal" in row]
    yield [
        "of 8 bits; floats in rows of their own" if saved else "floats",
        f"{' + '.join(str(count) for count in patches if count)} {trained}".strip() if patches else "none",
        "Holm" if "kinds" in table else "one by one",
        f"minimal in {sum(searched)} of {len(searched)} rows" if searched else "not asked",
    ]


@by_line(
    "roc",
    "attack | paper | joint similarity | joint surprise | joint similarity, published protocol | tested | ",
)
def paper(table: Row) -> Lines:
    """The paper's AUC of its linear detector, cell by cell."""
    for name, cell in table["paper"].items():
        linear, surprise = (table["detectors"][kind]["auc"][name] for kind in ("linear", "surprise"))
        other = cell.get("met_by_surprise", surprise[0] >= cell["paper"])
        met = "met" if cell["met"] else "met by joint surprise" if other else "**missed**"
        published = f"{table['published_protocol'][name]:.3f}"
        shown = named(name, marks(name, table))
        yield [shown, f"{cell['paper']:.2f}", with_interval(linear), with_interval(surprise), published,
               str(table["tested"][name]), met]  # fmt: skip


@by_line("detectors", "attack | joint surprise | TPR (false alarms) at 5 % | best of the others |  | max softmax")
def rivals(table: Row) -> Lines:
    """Joint surprise beside the best of all others, and the maximum softmax, attack by attack."""
    ours, floats = table["detectors"]["surprise"], table.get("floats", {})
    for name, cell in {**table["cells"], **floats}.items():
        softmax = table["detectors"]["max softmax"]["auc"][name][0]
        tpr = flagged(ours["tpr"]["0.05"][name][0], alarms(ours))
        yield [
            titled(name, table), with_interval(cell["ours"]), tpr,
            f"{cell['best_rival']} {cell['its_auc']:.3f}", "–" if name in floats else verdict(cell),
            f"{softmax:.3f}" + (" **above ours**" if cell.get("below_softmax") else ""),
        ]  # fmt: skip


@by_column("detectors", "mean AUC over attacks, measured FPR at 5 %")
def means(table: Row) -> Mapping[str, str]:
    """Mean AUC over the attacks of every detector."""
    return {name: f"{row['mean'][0]:.3f}, {alarms(row):.1%}" for name, row in table["detectors"].items()}


@part
def won(results: Path) -> str:
    """In how many cells joint surprise is the best or within chance of it, alone and with all further signs."""
    single, further = (results_of(results, study) for study in ("detectors", "further_signs"))
    found = {
        network: [table, *(further[network]["with"][name] for name in (WEIGHED, PATHLESS))]
        for network, table in single.items()
    }
    networks = list(found.values())
    for name, told in (("all by the rules", True), ("all before the rules", False)):
        alike = [rows for rows in networks if all("kinds" in row for row in rows) == told]
        if len(alike) > 1:
            found[name] = [summed(rows) for rows in zip(*alike, strict=True)]
    lines = [[network, *map(counts, rows)] for network, rows in found.items()]
    return markdown(["network", "joint surprise", "with all further signs, weighed", "these without paths"], lines)


@by_column("further_signs", "added to joint surprise")
def further(table: Row) -> Mapping[str, str]:
    """Joint surprise with further signs: mean AUC over attacks, and cells that are the best or within chance."""
    return {
        "nothing": f"{table['without']['mean'][0]:.3f}",
        "(best other detector)": f"{table['best_alone'][0]:.3f}",
        **{name: f"{row['auc']['mean'][0]:.3f}, {counts(row)}" for name, row in table["with"].items()},
    }


@by_line(
    "further_signs",
    "attack | all further signs, weighed | TPR (false alarms) at 5 % | best of the others |  | max softmax | "
    "of it by paths",
)
def weighed(table: Row) -> Lines:
    """All further signs, weighed, attack by attack, and what paths add to them."""
    whole = table["with"][WEIGHED]
    for name, cell in whole["cells"].items():
        yield [
            titled(name, table), with_interval(cell["auc"]), flagged(cell["tpr"][0], whole.get("fpr")),
            f"{cell['best']} {cell['its_auc']:.3f}", verdict(cell),
            f"{cell['softmax']:.3f}" + (" **above**" if cell["below_softmax"] else ""),
            with_interval(table["added_by_paths"][name], "+.3f"),
        ]  # fmt: skip


@by_column("further_signs", "sign")
def weights(table: Row) -> Mapping[str, str]:
    """What each sign counts, where it is learned."""
    return {sign: f"{weight:.2f}" for sign, weight in table["with"][WEIGHED]["weights"].items()}


@by_line(
    "profiles",
    "profile | passes, walks | clean alone | weighed by FGSM, PGD | by all seen attacks | the best rival | "
    "weighed, beyond it | patches | paths add | paths add, patches | learned from one attack",
    shipped=True,
)
def profiles(table: Row) -> Lines:
    """Every profile: mean AUC over the attacks, what paths add, and what is lost where one attack is known."""
    best, kinds, added = table["best_rival"], table["by_kind"], table["added_by_paths"]
    beyond = table["beyond_best_rival"]
    for name, cost in table["costs"].items():
        patches = "patches" in kinds[name]
        yield [
            name,
            f"{cost['passes']}, {cost['walks']}" + ", 1 of another" * cost.get("asks", False),
            with_interval(kinds[f"{name}, clean alone"]["all"]), with_interval(kinds[name]["all"]),
            with_interval(kinds[f"{name}, all seen attacks"]["all"]),
            f"{best} {kinds[best]['all'][0]:.3f}",
            with_interval(beyond[name], "+.3f") if name in beyond else "–",
            with_interval(kinds[name]["patches"]) if patches else "–",
            with_interval(added[name]["all"], "+.3f"),
            with_interval(added[name]["patches"], "+.3f") if patches else "–",
            with_interval(table["one_attack"]["loss"][name], "+.3f"),
        ]  # fmt: skip


@part
def profile_times(results: Path) -> str:
    """What each profile takes beside the forward pass, by network."""
    found = read_result(results / "profiles.json")
    kinds = list(next(iter(found["networks"].values()))["ratio"])
    lines = [
        [
            network,
            f"{row['ms']['forward']:.0f}",
            *(f"{row['ms'][kind]:.0f} ({row['ratio'][kind]:.2f} ×)" for kind in kinds),
        ]
        for network, row in found["networks"].items()
    ]
    return markdown(["network", "forward, ms", *(f"{kind}, ms" for kind in kinds)], lines)


@by_line("profiles", "attack | standard | TPR at 5 % | best rival |  | max softmax | paired", shipped=True)
def standard(table: Row) -> Lines:
    """The default, attack by attack, beside the best rival; and with another network, where there is one."""
    paired = table["detectors"].get("paired")
    for name, cell in table["cells"].items():
        yield [
            titled(name, table), with_interval(cell["auc"]), f"{cell['tpr'][0]:.0%}",
            f"{cell['best']} {cell['its_auc']:.3f}", verdict(cell),
            "**above**" if cell["below_softmax"] else "",
            "–" if paired is None else with_interval(paired["auc"][name]),
        ]  # fmt: skip


@by_line("combining", "rule | all attacks | beyond the shipped rule | minimal | strong | patches", shipped=True)
def combining(table: Row) -> Lines:
    """The rules by which the default could combine its signs."""
    for rule, means in table["rules"].items():
        shipped = rule == table["settings"]["compared"]
        yield [
            f"`{rule}`", with_interval(means["all"]),
            "–" if shipped else with_interval(table["beyond_shipped"][rule], "+.3f"),
            *(with_interval(means[kind]) for kind in ("minimal", "strong", "patches")),
        ]  # fmt: skip


@by_line("combining", "attack | all signs | the best sign | by itself", shipped=True)
def diluted(table: Row) -> Lines:
    """What the shipped rule makes of all signs, and the sign that is best for the attack."""
    for attack, (sign, auc) in table["best_alone"].items():
        ours = table["auc"][table["settings"]["compared"]][attack]
        yield [titled(attack, table), with_interval(ours), sign, f"{auc:.3f}"]


@by_line("branches", "detector | attack | what θ keeps | both branches | both add")
def branches(table: Row) -> Lines:
    """Detectors on paths that follow both branches of a residual sum, attack by attack."""
    kept, both = table["auc"].values()
    for detector, added in table["added"].items():
        for attack in [*table["attacks"], "mean"]:
            aucs = (with_interval(auc[detector][attack]) for auc in (kept, both))
            yield [detector, titled(attack, table), *aucs, with_interval(added[attack], "+.3f")]


@by_line(
    "candidates",
    "sign | passes, walks | alone | alone, patches | adds | adds, sharp patches | adds, smooth patches | "
    "adds least | squares of noise flagged",
)
def candidates(table: Row) -> Lines:
    """Signs that no profile has, alone and added to the default."""
    square, by_detector = "square of noise", table["flagged"]
    for title, row in table["signs"].items():
        alone, attacks = row.get("alone", {}), row["added_by_attack"]
        least = min(attacks, key=lambda attack, attacks=attacks: attacks[attack][0])
        flagged = [by_detector[name].get(square) for name in (table["settings"]["compared"], title)]
        yield [
            title, f"{row['passes']}, {row['walks']}",
            *(with_interval(alone[kind]) if kind in alone else "–" for kind in ("all", "patches")),
            with_interval(row["added"]["all"], "+.3f"),
            *(with_interval(attacks[name], "+.3f") if name in attacks else "–" for name in PATCHES),
            f"{attacks[least][0]:+.3f} ({titled(least, table)})",
            "–" if None in flagged else " → ".join(f"{share[0]:.0%}" for share in flagged),
        ]  # fmt: skip


@by_line(
    "floors",
    "signs, floors | weighed by | all attacks | minimal | strong | sharp patches | "
    "smooth patches | the shipped one is ahead by",
)
def floors(table: Row) -> Lines:
    """The default with one of its signs and without it, with other floors of its weights."""
    for name, row in table["variants"].items():
        how = row["weighed_by"]
        yield [
            name.removesuffix(f", {how}"), how,
            *(with_interval(row["kinds"][kind]) for kind in ("all", "minimal", "strong")),
            *(with_interval(row["auc"][patch]) if patch in row["auc"] else "–" for patch in PATCHES),
            with_interval(row["shipped_beyond"]["all"], "+.3f"),
        ]  # fmt: skip


@by_line(
    "pixels",
    "attack | squares | 24 around | 8 around | standard | without squares | without surroundings",
    shipped=True,
)
def pixels(table: Row) -> Lines:
    """What the signs of the pixels add: alone, and the default with them and without, attack by attack."""
    for attack in [*table["tested"], "mean"]:
        yield [titled(attack, table), *(f"{row[attack][0]:.3f}" for row in table["auc"].values())]
    added = (with_interval(gain, "+.3f") for gain in table["added"].values())
    yield ["they add", "", "", "", "", *added]
    for control in table["flagged"]["standard"]:
        if control.startswith(("clean", "noise as large as PGD", "another source")):
            shares = (with_interval(flagged[control], ".0%") for flagged in table["flagged"].values())
            yield [f"flagged at 5 %: {control}", "", "", "", *shares]


@by_line("transfer", "attacks | linear | surprise | all further signs, weighed | CDRP, linear | CDRP, forest")
def transfer(table: Row) -> Lines:
    """The loss of training on one attack only."""
    for name, kinds in table["sets"].items():
        losses = [
            f"{with_interval(kinds[detector]['mean_loss'])}{'' if kinds[detector]['met'] else ' **above**'}"
            if detector in kinds
            else "–"
            for detector in ("linear", "surprise", "weighed", "CDRP, linear", "CDRP, forest")
        ]
        yield [{"minimal": "the paper's", "every": "all"}[name], *losses]


@by_line(
    "cdrp", "features | images | linear | forest | AdaBoost | boosting | forward passes per image | ms per image"
)
def cdrp(table: Row) -> Lines:
    """CDRP beside effective paths: mean AUC over attacks, and forward passes per image."""
    for method, kinds, features in (
        ("paths", CLASSIFIERS.keys(), f"paths, {table['similarities']} similarities"),
        ("cdrp", CLASSIFIERS.values(), f"CDRP, {table['gates']} gates"),
    ):
        aucs = [f"{table['detectors'][kind]['mean'][0]:.3f}" for kind in kinds]
        times = [f"{table['time'][f'{method}_{of}']:.3g}" for of in ("by_forward", "ms_an_image")]
        yield [features, str(table["sources"]), *aucs, *times]


def corruption_of(name: str) -> tuple[str, str]:
    """Return the kind and the strength of corrupted images; two empty words of others."""
    kind, _, strength = name.rpartition(" ")
    return (kind, strength) if kind in CORRUPTIONS else ("", "")


@by_line("controls", f"images | number | {' | '.join(CONTROLLED)}", shipped=True)
def controls(table: Row) -> Lines:
    """How often images that were not attacked are flagged at a false positive rate of 5 %."""
    detectors = [table["detectors"].get(detector) for detector in CONTROLLED]
    for name, count in table["images"].items():
        if not corruption_of(name)[0]:
            flagged = ["–" if row is None else f"{row['flagged'][name][0]:.1%}" for row in detectors]
            yield [name, str(count), *flagged]


@by_line("controls", f"corruption | classified correctly | {' | '.join(CONTROLLED)}", shipped=True)
def corruptions(table: Row) -> Lines:
    """How often corrupted images are flagged at a false positive rate of 5 %, in per cent, by strength."""
    detectors = [table["detectors"].get(detector) for detector in CONTROLLED]
    named = {corruption_of(name)[0]: [] for name in table["images"] if corruption_of(name)[0]}
    for name in table["images"]:
        if kind := corruption_of(name)[0]:
            named[kind].append(name)
    for kind, names in named.items():
        flagged = [
            "–" if row is None else by_strength([row["flagged"][name][0] for name in names]) for row in detectors
        ]
        yield [kind, by_strength([table["correct"][name] for name in names]), *flagged]


def by_strength(shares: Sequence[float]) -> str:
    return " · ".join(f"{100 * share:.0f}" for share in shares)


@by_line("promise", "detector | images | asked | mean | 5 to 95 % of the calibrations | predicted", shipped=True)
def promise(table: Row) -> Lines:
    """The share of clean images above the threshold, over many calibrations."""
    count = table["settings"]["calibrated_on"]
    for kind, rates in table["kinds"].items():
        for rate, row in rates.items():
            if row["above"]:
                spreads = [f"{low:.1%} – {high:.1%}" for low, high in (row["spread"], row["predicted"])]
                mean = with_interval(row["mean"], ".2%") + ("" if row["kept"] else " **above**")
                yield [kind, str(count), f"{float(rate):.0%}", mean, *spreads]


@by_line(
    "recovery", "attack | flagged images, mean over the splits | rank-2 class | best fit | best fit of others"
)
def recovery(table: Row) -> Lines:
    """How often a guess is the true class, of the images that joint surprise flags."""
    for name, parts in table["detectors"]["surprise"].items():
        if "detected" in parts:
            row = parts["detected"]
            guesses = [f"{row[guess][0]:.2f}" for guess in ("rank 2", "best fit", "best other fit")]
            yield [name, f"{row['images']:.0f}", *guesses]


@part
def figures(results: Path) -> str:
    """The paper's figures, the study of each, and the pictures."""
    lines = []
    for study in (study for study, figure in FIGURES.items() if figure.page == "detection"):
        drawn = {file.stem for file in folder_of(results, study).glob("*.png")}
        names = [*(name for name in CASES if name in drawn), *sorted(drawn - set(CASES))]
        links = " · ".join(f"[{name}](results/detection/{study}/{name}.png)" for name in names)
        lines.append([FIGURES[study].paper, f"`{study}`", links])
    return markdown(["figure or table of the paper", "study", "ours"], lines)


@by_line("reproduce", "processes | attacks, paths, rivals and every study, from nothing | of a processor")
def reruns(table: Row) -> Lines:
    """How long everything takes from nothing, and how much of it one processor computes."""
    seconds = table["seconds"]
    used = f"{seconds['processor'] / 60:.1f} min" if "processor" in seconds else "–"
    whole = seconds["gathered"] + seconds["studied"] if "gathered" in seconds else seconds["all"]
    yield [str(table["processes"]), f"{whole / 60:.1f} min", used]


@part
def mnist(results: Path) -> str:
    """LeNet-5 on MNIST, attack by attack, for the README."""
    table = read_result(results / "detection" / "detectors" / "lenet_mnist.json")
    profile = read_result(results / "detection" / "profiles" / "lenet_mnist.json")
    own, fpr = profile["cells"], profile["detectors"]["standard"]["fpr"]["0.05"]
    linear, surprise, softmax = (table["detectors"][kind] for kind in ("linear", "surprise", "max softmax"))
    lines = []
    for name, cell in table["cells"].items():
        row = table["attacks"][name]
        lines.append([
            titled(name, table), f"{row['succeeded']}/{row['tried']}",
            with_interval(linear["auc"][name]), with_interval(surprise["auc"][name]),
            with_interval(own[name]["auc"]), flagged(own[name]["tpr"][0], fpr), f"{softmax['auc'][name][0]:.3f}",
            f"{cell['best_rival']} {cell['its_auc']:.3f}",
        ])  # fmt: skip
    return markdown(
        ["attack", "success", "AUC, joint similarity", "AUC, joint surprise", "AUC, standard",
         "its TPR (false alarms) at 5 %", "AUC, max softmax", "best of all others"], lines
    )  # fmt: skip


@part
def networks_at_a_glance(results: Path) -> str:
    """The default on every network, beside the best of all others and with another network, for the README."""
    lines, before = [], judged_before(results)
    for name, table in results_of(results, "profiles").items():
        kinds, added, beyond = table["by_kind"], table["added_by_paths"]["standard"], table["beyond_best_rival"]
        rival = table["best_rival"]
        best = f"{rival.replace('surprise', 'joint surprise')} {kinds[rival]['all'][0]:.3f}"
        lines.append([
            TITLES[name] + " †" * (name in before), f"{len(table['cells'])}, {table['attacked_images']}",
            with_interval(kinds["standard"]["all"]), f"**{best}**" if beyond["standard"][2] < 0 else best,
            with_interval(kinds["paired"]["all"]) if "paired" in kinds else "–",
            ", ".join(_patch(table, f"Patch {kind}") for kind in ("sharp", "smooth")),
            *(with_interval(added[kind], "+.3f") for kind in ("all", "patches")),
        ])  # fmt: skip
    return markdown(
        ["network, data", "attacks, images", "`standard`", "best of all others", "`paired`",
         "sharp, smooth patches", "forward sets add", "on patches"], lines
    )  # fmt: skip


def _patch(table: Row, row: str) -> str:
    """Return the AUC of the default on patches, with a star where fewer images than an indication fooled."""
    few = table["attacks"][row]["succeeded"] < FEW
    return f"{table['cells'][row]['auc'][0]:.3f}" + "\\*" * few
