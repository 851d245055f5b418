"""The page: its head, what was found, and its sections in the order in which a reader wants them."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from string import Template

from effpath.demo.report import sections
from effpath.demo.report.parts import paragraph, text
from effpath.demo.report.words import (
    PAPERS,
    against_baselines,
    count,
    detector_name,
    number,
    percent,
    span,
    summary,
)
from effpath.demo.result import DemoResult

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
$style</style>
</head>
<body>
<header>
<p class="kicker">Effective paths and adversarial images</p>
<h1>$title</h1>
$summary
</header>
<nav aria-label="Sections">$links</nav>
<main>
$sections
</main>
<footer><p>Made by effpath. The method is that of Qiu et al., <cite>Adversarial Defense Through Network Profiling
Based Path Extraction</cite>, CVPR 2019.</p></footer>
</body>
</html>
""")
_SECTION = Template("""<section id="$key" aria-labelledby="$key-title">
<h2 id="$key-title">$title</h2>
$body
</section>""")


def page(result: DemoResult) -> str:
    """Return the whole page; nothing in it is loaded from elsewhere."""
    parts = {
        "attacks": ("Attacks and detectors", sections.attacks(result)),
        "classes": ("Class paths", sections.classes(result)),
        "layers": ("Similarity, layer by layer", sections.layers(result)),
        "roc": ("ROC curves", sections.roc(result)),
        "scores": ("Suspicion scores", sections.scores(result)),
        "examples": ("Flagged images", sections.examples(result)),
        "density": ("Density of the overall path", sections.density(result)),
        "provenance": ("How this was made", sections.provenance(result)),
    }
    return _PAGE.substitute(
        title=escape(result.title),
        style=files("effpath.demo.report").joinpath("style.css").read_text("utf-8"),
        summary=_summary(result),
        links="".join(f'<a href="#{key}">{title}</a>' for key, (title, _) in parts.items()),
        sections="\n".join(
            _SECTION.substitute(key=key, title=title, body=body) for key, (title, body) in parts.items()
        ),
    )


def _summary(result: DemoResult) -> str:
    main = result.headline
    scores = [attack.scores[main] for attack in result.attacks]
    papers = [attack.scores[PAPERS].auc.value for attack in result.attacks if PAPERS in attack.scores]
    tiles = {
        "test images classified correctly": percent(result.accuracy),
        "of the synapses in the overall path": percent(result.density["synapses"]),
        "test images attacked": count(max(attack.tried for attack in result.attacks)),
        f"AUC of {detector_name(main)}": span([score.auc.value for score in scores]),
        **({f"AUC of {detector_name(PAPERS)}, the paper's": span(papers)} if papers and main != PAPERS else {}),
        "adversarial images flagged, by attack": span(
            [100 * score.tpr.value for score in scores], lambda value: number(value, 0)
        )
        + "\u202f%",
        "clean images flagged": percent(result.fpr[main]),
    }
    shown = "".join(f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in tiles.items())
    rivals = against_baselines(result)
    return "\n".join(
        [
            paragraph(*summary(result), kind="lead"),
            f'<dl class="tiles">{shown.replace(" to ", "–")}</dl>',
            f'<p class="note"><strong>Beside the baselines.</strong> {text(*rivals)}</p>' if rivals else "",
        ]
    )
