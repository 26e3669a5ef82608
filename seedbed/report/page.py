"""HTML pages from the templates beside this file; all values are escaped."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import jinja2

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, **values: Any) -> str:  # noqa: ANN401 - any value of a template
    """Render a template; `page.css` and `page.js` become part of the page."""
    return _TEMPLATES.get_template(template).render(**values)


def _figure(value: float | None) -> str:
    """A fraction with three digits; a dash for None."""
    return "–" if value is None else f"{value:.3f}"


def _duration(seconds: float) -> str:
    """Seconds below a minute, else h:mm:ss."""
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


def _indented(settings: Any) -> str:  # noqa: ANN401 - any JSON value
    """JSON with a key on each line."""
    return json.dumps(settings, indent=2, ensure_ascii=False)


_TEMPLATES.filters |= {"figure": _figure, "duration": _duration, "indented": _indented}
