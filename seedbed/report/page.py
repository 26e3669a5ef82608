"""HTML from the templates beside this file; whatever comes from data is escaped."""

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


def render(template: str, **values: Any) -> str:  # noqa: ANN401 - whatever the template shows
    """Fill in a template; `page.css` and the scripts become part of the page."""
    return _TEMPLATES.get_template(template).render(**values)


def _figure(value: float | None) -> str:
    """A fraction with three digits; a dash where it is undefined."""
    return "–" if value is None else f"{value:.3f}"


def _duration(seconds: float) -> str:
    """Seconds with a digit if they are few, else h:mm:ss."""
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


def _readable(settings: Any) -> str:  # noqa: ANN401 - any JSON value
    return json.dumps(settings, indent=2, ensure_ascii=False)


_TEMPLATES.filters |= {"figure": _figure, "duration": _duration, "readable": _readable}
