"""What the status page draws beside `uplink.pages.charts`. Pure."""

from markupsafe import Markup


def share(value: int, whole: int) -> Markup:
    """A lying bar for `value` of `whole`; the number stands beside it, so it says nothing to a screen reader."""
    width = round(100 * value / whole, 2) if whole else 0
    return Markup(
        '<svg class="share" aria-hidden="true" viewBox="0 0 100 1" preserveAspectRatio="none">'
        f'<rect class="rail" width="100" height="1"/><rect class="bar" width="{width}" height="1"/></svg>'
    )
