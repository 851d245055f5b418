"""Reads a page, and notes what is wrong with its HTML."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"img", "meta", "br", "link", "hr", "input"}


class Balance(HTMLParser):
    """Notes every tag that is closed out of turn, every image without a description and every reference."""

    descriptions: tuple[str, ...] = ("aria-label",)  # of which a drawing needs one

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.references += [found[name] or "" for name in ("src", "href", "srcset", "data") if name in found]
        self.ids += [found["id"] or ""] if "id" in found else []
        if tag == "img" and not found.get("alt"):
            self.wrong.append("img without alt")
        if tag == "svg" and not any(found.get(name) for name in self.descriptions):
            self.wrong.append("svg without a description")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(page: str, parser: Balance | None = None) -> Balance:
    parser = parser or Balance()
    parser.feed(page)
    parser.close()
    return parser
