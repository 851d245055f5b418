"""Pages and figures of what was seen: self-contained HTML, PNG and SVG; `pages` has the doors."""
