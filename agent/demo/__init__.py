"""The demonstration: an office that calls, an agent that counts, a platform that receives, all in one process on loopback.

The office knows its calls by itself; it shares no code with what reads them, so that the comparison at the end means
something.
"""

from agent.demo.run import run

__all__ = ["run"]
