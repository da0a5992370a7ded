"""`python -m agent.cli`: the `pegcount` command of a checkout."""

from agent.cli.main import main

main(prog_name="pegcount")
