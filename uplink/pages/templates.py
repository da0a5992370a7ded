"""The templates' environment. Everything that comes from outside is text to them, never markup (autoescape is on for all)."""

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from uplink.pages import words


def environment(package: str) -> Environment:
    """For the templates of a package, and `icons.html` of this one."""
    made = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("uplink.pages")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(number=words.number, decimal=words.decimal)
    made.globals.update(counted=words.counted)
    return made
