"""A live `sip` source put together: its engine, its stream, its collector."""

from collectors.contract import Collector, Context
from collectors.sip.kind import SipConfig
from collectors.sip.live.collect import LiveCollector
from collectors.sip.live.dissect import FrameDissector
from collectors.sip.live.engines import ENGINES
from collectors.sip.live.stream import LiveStream
from collectors.sip.tracker import Tracker


def open_live(config: SipConfig, context: Context) -> Collector:
    def stream() -> LiveStream:
        return LiveStream(FrameDissector(config.limits), Tracker(config.limits, config.site))

    return LiveCollector(ENGINES[config.engine](config, context), stream)
