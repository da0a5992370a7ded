"""The `pegcount` command: one file a command."""
