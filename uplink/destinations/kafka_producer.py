"""Kafka: each event is a message, by an idempotent producer that waits for all replicas in sync.

Laws
- Taken is what the brokers reported as delivered, each message by itself. Where one of a request was not, all of it is sent
  again: at least once, and readers know events by `id`. Within one producer's life the brokers know a repeat by its numbers.
- A producer that failed is given up with what waits in it: nothing goes out unseen later.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from uplink.destinations.kafka import KafkaSettings
from uplink.line import first_line, tls_context
from uplink.outbox import Refusal
from uplink.taker import Event, Failed, Limits, Outcome, Taken, form

log = logging.getLogger(__name__)

LIMITS = Limits(max_events=500, max_bytes=1024 * 1024)
GRACE_S = 2.0
"""After `message.timeout.ms` each message is reported; the report is fetched a little later."""

_SLOW = {
    KafkaError._AUTHENTICATION: "unauthorized",
    KafkaError.SASL_AUTHENTICATION_FAILED: "unauthorized",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "forbidden",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "forbidden",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "destination_misconfigured",
    KafkaError._UNKNOWN_TOPIC: "destination_misconfigured",
    KafkaError._SSL: "tls",
    KafkaError._RESOLVE: "dns",
}
_QUICK = {
    KafkaError._MSG_TIMED_OUT: "timeout",
    KafkaError._TRANSPORT: "unreachable",
    KafkaError._ALL_BROKERS_DOWN: "unreachable",
}
_TLS_FILES = ("ssl.ca.location", "ssl.certificate.location", "ssl.key.location")
"""librdkafka, CONFIGURATION.md. Names in certificates are verified unless it is told otherwise, since 2.0."""
_TOO_LONG = (KafkaError.MSG_SIZE_TOO_LARGE,)


class Kafka:
    """Raises CredentialsUnreadable where a file that the settings name cannot be used."""

    limits = LIMITS

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._options = _options(settings)
        self._producer: Producer | None = None
        self._heard: KafkaError | None = None

    async def send(self, events: Sequence[Event]) -> Outcome:
        return await asyncio.to_thread(self._send, events)

    def _send(self, events: Sequence[Event]) -> Outcome:
        self._heard = None
        reports: dict[int, KafkaError | None] = {}
        try:
            producer = self._producer or Producer({**self._options, "error_cb": self._hear})
            self._producer = producer
            for event in events:
                self._produce(producer, event, reports)
            producer.flush(self._settings.timeout_s + GRACE_S)
        except (KafkaException, BufferError) as error:
            self._give_up()
            return Failed(code="destination_misconfigured", detail=str(error), slow=True)
        outcome = self._outcome(events, reports)
        if isinstance(outcome, Failed):
            self._give_up()
        return outcome

    def _produce(self, producer: Producer, event: Event, reports: dict[int, KafkaError | None]) -> None:
        headers: list[tuple[str, str | bytes | None]] = [
            ("content-type", "application/cloudevents+json; charset=UTF-8"),
            ("ce_id", event.id),
            ("ce_source", event.source),
            ("ce_type", event.type),
        ]
        key = event.subject if self._settings.key == "subject" else event.source.rpartition(":")[2]
        try:
            producer.produce(
                self._settings.topic, form(event), key, on_delivery=_into(reports, event.position), headers=headers
            )
        except KafkaException as error:
            if error.args[0].code() not in _TOO_LONG:
                raise
            reports[event.position] = error.args[0]

    def _outcome(self, events: Sequence[Event], reports: dict[int, KafkaError | None]) -> Outcome:
        refused: list[Refusal] = []
        for event in events:
            error = reports.get(event.position, KafkaError(KafkaError._MSG_TIMED_OUT))
            if error is not None and error.code() in _TOO_LONG:
                refused.append(Refusal(seq=event.position, code="too_large", message=error.str()))
            elif error is not None:
                return self._failed(error)
        return Taken(refused=tuple(refused))

    def _failed(self, error: KafkaError) -> Failed:
        """A message that ran out of time says so only; what the producer heard meanwhile tells why."""
        cause = self._heard if self._heard is not None and error.code() == KafkaError._MSG_TIMED_OUT else error
        slow = _SLOW.get(cause.code())
        return Failed(code=slow or _QUICK.get(cause.code(), "server_error"), detail=cause.str(), slow=bool(slow))

    def _hear(self, error: KafkaError) -> None:
        log.debug("kafka: %s", error)
        if self._heard is None or self._heard.code() not in _SLOW:
            self._heard = error

    def _give_up(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            producer.flush(GRACE_S)

    async def close(self) -> None:
        await asyncio.to_thread(self._give_up)


def _into(reports: dict[int, KafkaError | None], position: int) -> Callable[[KafkaError | None, Message], None]:
    def note(error: KafkaError | None, _: Message) -> None:
        reports[position] = error

    return note


def _options(settings: KafkaSettings) -> dict[str, Any]:
    """Raises CredentialsUnreadable."""
    found: dict[str, Any] = {
        "bootstrap.servers": settings.brokers,
        "client.id": "pegcount",
        "enable.idempotence": True,
        "acks": "all",
        "message.timeout.ms": int(settings.timeout_s * 1000),
        "log_level": 0,
    }
    if settings.user:
        password = first_line(settings.password_file)
        found |= {"sasl.mechanism": settings.mechanism, "sasl.username": settings.user, "sasl.password": password}
    found["security.protocol"] = ("sasl_" if settings.user else "") + ("ssl" if settings.tls else "plaintext")
    if settings.tls:
        tls_context(settings.ca_file, settings.certificate, settings.key_file)  # librdkafka opens them itself, later
        files = zip(_TLS_FILES, (settings.ca_file, settings.certificate, settings.key_file), strict=True)
        found |= {option: file for option, file in files if file}
    return found
