"""Renders a report as one HTML page that needs nothing but itself: no network, no other file.

Text is escaped by jinja2. Scripts run only if their hash stands in the page's content security policy, so that markup
which slipped through would still not run.
"""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs
from plotly.utils import PlotlyJSONEncoder

from glmplan.report.content import Report, plain

GENERATOR_TAG = '<meta name="generator" content="glmplan'
"""How a page made here is told from a foreign file."""

_TEMPLATES = Path(__file__).parent / "templates"


def html_page(report: Report) -> str:
    """The page; the same report gives the same text."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["plain"] = plain
    environment.filters["lines"] = lambda text: plain(text, keep_lines=True)
    environment.filters["figure_json"] = figure_json
    library, drawing = (_script(text) for text in (get_plotlyjs(), (_TEMPLATES / "charts.js").read_text("utf-8")))
    return environment.get_template("page.html.j2").render(
        report=report,
        style=Markup((_TEMPLATES / "style.css").read_text("utf-8")),
        scripts=(Markup(library), Markup(drawing)),
        script_hashes=" ".join(f"'sha256-{_sha256(text)}'" for text in (library, drawing)),
    )


def figure_json(figure: Any) -> Markup:
    """A plotly figure as JSON that may stand inside a ``script`` element: nothing in it can end or open a tag.

    ``figure.to_json`` is not used: it picks another encoder where one is installed, and the text would differ.
    """
    text = json.dumps(figure.to_plotly_json(), cls=PlotlyJSONEncoder, sort_keys=True, ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _script(text: str) -> str:
    """A script as it will stand in the page. The browser reads line ends as line feeds, and hashes that."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    # An end tag inside a string would end the element; escaped, the string stays the same.
    return re.sub("</(script)", r"<\\/\1", text, flags=re.IGNORECASE)


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
