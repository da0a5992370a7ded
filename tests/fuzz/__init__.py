"""Every decoder against bytes that nobody meant: `python -m tests.fuzz --help`. See docs/decisions/0023."""
