"""Templates of pages: HTML files of this folder, completed with the style and the charts that they share."""

from pathlib import Path

FOLDER = Path(__file__).parent


def read_template(name: str) -> str:
    """Return an HTML file of this folder with page.css and charts.js inside, so that the page needs no other file."""
    text = (FOLDER / name).read_text()
    for place, part in (("__STYLE__", "page.css"), ("__CHARTS__", "charts.js")):
        text = text.replace(place, (FOLDER / part).read_text())
    return text
