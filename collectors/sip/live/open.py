"""A live `sip` source put together: its engine, its stream, its collector."""

from collectors.contract import Collector, Context
from collectors.sip.dissect import Dissector
from collectors.sip.kind import SipConfig
from collectors.sip.live.collect import LiveCollector
from collectors.sip.live.engines import ENGINES
from collectors.sip.live.stream import LiveStream
from collectors.sip.tracker import Tracker


def open_live(config: SipConfig, context: Context) -> Collector:
    def stream() -> LiveStream:
        tracker = Tracker(config.limits, config.site, config.media)
        return LiveStream(Dissector(config.limits, tracker.media, dedup=True), tracker)

    return LiveCollector(ENGINES[config.engine](config, context), stream)
