"""The templates of the pages, with the filters they use, and the texts that enter a page as they are."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from taco_kd.report import formats


def template(name: str, **filters: Callable[..., str]) -> Template:
    """A template of this package; what is put into it is escaped, and a name it lacks is an error."""
    environment = Environment(
        loader=PackageLoader("taco_kd.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= formats.FILTERS | filters
    return environment.get_template(name)


def own_text(name: str) -> Markup:
    """A style sheet or script of this package; the only text that enters the page without escaping."""
    return Markup((resources.files("taco_kd.report") / name).read_text(encoding="utf-8"))
