"""Pages as a browser shows them: on phones and desks, light and dark."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
PHONE, DESK = 390, 1200
WAYS = [(width, scheme) for width in (PHONE, DESK) for scheme in ("light", "dark")]
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LOOK = r"""() => {
  document.querySelectorAll("details").forEach(one => one.open = true);
  const width = document.documentElement.clientWidth;
  const name = one => `${one.tagName.toLowerCase()}.${one.getAttribute("class")}: ${one.textContent.trim()}`;
  const all = [...document.body.querySelectorAll("*")].filter(one => one.getClientRects().length);
  const box = one => one.getBoundingClientRect();
  const outside = (inner, outer) =>
    inner.left < outer.left - 1 || inner.right > outer.right + 1 ||
    inner.top < outer.top - 1 || inner.bottom > outer.bottom + 1;
  const luminance = colour => {
    const parts = colour.match(/[\d.]+/g).map(Number);
    if (parts.length > 3 && parts[3] === 0) return null;
    const [r, g, b] = parts.map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = one => {
    for (let at = one; at; at = at.parentElement) {
      const found = luminance(getComputedStyle(at).backgroundColor);
      if (found !== null) return found;
    }
    return 1;
  };
  const contrast = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const charts = all.filter(one => one.matches("svg.chart"));
  const texts = charts.flatMap(chart => [...chart.querySelectorAll("text")].map(one => ({ one, chart })));
  const cell = text => /^\.\d\d$/.test(text.textContent.trim());  // on a colour of the heatmap
  const worded = all.filter(one => !one.closest("svg") &&
    [...one.childNodes].some(node => node.nodeType === 3 && node.textContent.trim()));
  const cells = [...document.querySelectorAll("tbody th, tbody td")];
  return {
    page: document.documentElement.scrollWidth - width,
    wide: all.filter(one => !one.closest("svg") && (box(one).right > width + 1 || box(one).left < -1)).map(name),
    cut: all.filter(one => !one.closest("svg") && one.tagName !== "TABLE" && one.clientWidth &&
      one.scrollWidth > one.clientWidth + 1).map(name),
    cells: cells.length,
    lost: cells.filter(one => !one.getClientRects().length ||
      outside(box(one), box(one.closest(".scroll"))) || box(one).width < 5).map(name),
    clipped: texts.filter(({ one, chart }) => outside(box(one), box(chart))).map(({ one }) => name(one)),
    crossed: charts.flatMap(chart => {
      const own = [...chart.querySelectorAll("text")];
      return own.flatMap((one, at) => own.slice(at + 1).filter(other => {
        const a = box(one), b = box(other);
        return Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2 &&
          Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4;
      }).map(other => `${name(one)} / ${name(other)}`));
    }),
    charts: charts.length,
    chart_text: Math.min(...texts.map(({ one, chart }) =>
      parseFloat(getComputedStyle(one).fontSize) * chart.getScreenCTM().a)),
    text: Math.min(...worded.map(one => parseFloat(getComputedStyle(one).fontSize))),
    body: luminance(getComputedStyle(document.body).backgroundColor),
    cards: [...document.querySelectorAll("section, figure.card, .scroll, .tiles div, pre")].map(behind),
    faint: [
      ...worded.filter(one => contrast(luminance(getComputedStyle(one).color), behind(one)) < 4.5).map(name),
      ...texts.filter(({ one }) => !cell(one))
        .filter(({ one, chart }) => contrast(luminance(getComputedStyle(one).fill), behind(chart)) < 4.5)
        .map(({ one }) => name(one)),
    ],
    filled: charts.flatMap(chart => [...chart.querySelectorAll("path, rect")].filter(one =>
      box(one).width > 0.95 * box(chart).width && box(one).height > 0.95 * box(chart).height &&
      getComputedStyle(one).fill !== "none").map(name)),
  };
}"""
"""What there is to find on a page."""


@contextmanager
def browser() -> Iterator[Any]:
    """Open a browser; the test is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield opened
        opened.close()


def views_of(
    file: Path, ask: Callable[[Any], dict[str, Any]] | None = None
) -> dict[tuple[int, str], dict[str, Any]]:
    """Return what a browser finds of one page, by width and colour scheme; ``ask`` asks an open page for more."""
    found = {}
    with browser() as opened:
        for width, scheme in WAYS:
            page = opened.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            said: list[str] = []
            page.on("console", lambda message, said=said: said.append(message.text))
            page.on("pageerror", lambda error, said=said: said.append(str(error)))
            page.on("request", lambda request, said=said: said.append(request.url))
            page.goto(file.as_uri())
            more = {} if ask is None else ask(page)
            found[width, scheme] = {**page.evaluate(LOOK), **more, "said": said, "file": file.as_uri()}
            page.close()
    return found
