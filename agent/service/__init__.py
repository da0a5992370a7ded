"""The service: what runs at the site. `run(config)` is the agent from start to stop."""

from agent.service.daemon import Agent, run

__all__ = ["Agent", "run"]
