"""The pages that a browser shows, put together: each with the style and the charts that all of them share."""

from pathlib import Path

FOLDER = Path(__file__).parent


def read_template(name: str) -> str:
    """Return a page of this folder with page.css and charts.js in their places, so that it needs no other file."""
    text = (FOLDER / name).read_text()
    for place, part in (("__STYLE__", "page.css"), ("__CHARTS__", "charts.js")):
        text = text.replace(place, (FOLDER / part).read_text())
    return text
