"""Libraries that only some installations need: they are extras, imported when a setting asks for them."""


def missing(error: ImportError, extra: str) -> str:
    """What is to be said where a library of `extra` is not installed."""
    return f"{error}: it is in the extra {extra} (packaging/install.sh --with {extra})"
