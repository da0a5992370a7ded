"""NATS JetStream: each event is a message of its own, with the event's id as Nats-Msg-Id.

Laws
- Taken is what the stream has acknowledged; "duplicate" is an acknowledgement. Messages of one request are on their way
  together; where one of them is not acknowledged, all are sent again, and the stream knows those that it has.
- The stream is the operator's: it is looked at, and neither made nor changed. One that is missing takes nothing.
- A connection that is lost is not mended: what waited in it would go out unseen later. The next request opens another.

One message per event, not per request: consumers choose by subject, and the next cut of a request would have another id.
Codes: nats-server, server/errors.json (2.15).
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Sequence
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError

from uplink.destinations.nats import NatsSettings, subject_of
from uplink.line import CredentialsUnreadable
from uplink.nats_credentials import LoginClient, is_forbidden, is_refusal, options, why_refused
from uplink.outbox import Refusal
from uplink.taker import Event, Failed, Limits, Outcome, Taken, form

log = logging.getLogger(__name__)

LIMITS = Limits(max_events=500, max_bytes=1024 * 1024)
"""On their way together. JetStream works on some 10,000 a second, so that these are well within any `timeout_s`."""
CONTENT_TYPE = "application/cloudevents+json"
"""CloudEvents' NATS binding 1.0.2, structured content mode."""
ONCE: dict[str, Any] = {"allow_reconnect": False, "max_reconnect_attempts": 1, "reconnect_time_wait": 0}
"""The client would try for ever, and for two minutes where it has never been connected."""
STORE_FAILED = 10077
"""The stream's own limits, with `discard: new`; of a subject's, where each event has one of its own: it is there."""
PER_SUBJECT = "per subject"
TOO_LONG = 10054
FULL = (STORE_FAILED, 10023, 10028, 10047)
"""The stream is full; insufficient resources; no memory, no storage left."""
MISCONFIGURED = (10039, 10060)
"""JetStream is not enabled for this account; another stream takes this subject."""


class JetStream:
    """Raises CredentialsUnreadable where a file that the settings name cannot be used."""

    limits = LIMITS

    def __init__(self, settings: NatsSettings) -> None:
        self._settings = settings
        self._login = settings.login()
        options(self._login)
        self._client: Client | None = None
        self._lost = asyncio.Event()
        self._forbidden = ""

    async def send(self, events: Sequence[Event]) -> Outcome:
        try:
            js = await self._connected()
            answers = await self._publish(js, events)
        except CredentialsUnreadable as error:
            return Failed(code="credentials", detail=str(error))
        except (nats.errors.Error, OSError, TimeoutError) as error:
            await self.close()
            return self._failed(error)
        outcome = self._outcome(events, answers)
        if isinstance(outcome, Failed):
            await self.close()
        return outcome

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _connected(self) -> JetStreamContext:
        if self._client is not None and self._client.is_connected:
            return self._client.jetstream(timeout=self._settings.timeout_s)
        await self.close()
        self._client = await self._first_that_answers()
        js = self._client.jetstream(timeout=self._settings.timeout_s)
        info = await js.stream_info(self._settings.stream_name)
        for doubt in doubts(info.config, self._settings):
            log.warning("stream %s: %s", self._settings.stream_name, doubt)
        return js

    async def _first_that_answers(self) -> Client:
        """Raises what the last server's refusal was."""
        servers = self._settings.url.split(",")
        for server in servers[:-1]:
            try:
                return await self._connect(server)
            except (nats.errors.Error, OSError, TimeoutError) as error:
                log.debug("%s: %s", server, error)
        return await self._connect(servers[-1])

    async def _connect(self, server: str) -> Client:
        client, lost, heard = LoginClient(self._login), asyncio.Event(), list[Exception]()
        self._forbidden = ""

        async def on_close() -> None:
            lost.set()

        async def on_error(error: Exception) -> None:
            log.debug("nats: %s", _words(error))
            heard[:] = [error]
            if is_forbidden(error):
                self._forbidden = _words(error)

        how = {"name": "pegcount", "connect_timeout": self._settings.timeout_s, **ONCE, **options(self._login)}
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                await client.connect(server, closed_cb=on_close, error_cb=on_error, **how)
        except nats.errors.NoServersError as error:
            await client.close()
            raise (heard or [error])[0] from None
        except BaseException:
            await client.close()
            raise
        self._lost = lost
        return client

    async def _publish(self, js: JetStreamContext, events: Sequence[Event]) -> list[api.PubAck | BaseException]:
        sent = asyncio.gather(*(self._publish_one(js, event) for event in events), return_exceptions=True)
        lost = asyncio.ensure_future(self._lost.wait())
        try:
            both: set[asyncio.Future[Any]] = {sent, lost}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not sent.done():
                raise nats.errors.ConnectionClosedError
            return sent.result()
        finally:
            lost.cancel()
            if not sent.done():
                sent.cancel()
                await asyncio.gather(sent, return_exceptions=True)

    async def _publish_one(self, js: JetStreamContext, event: Event) -> api.PubAck:
        headers = {api.Header.MSG_ID.value: event.id, "content-type": CONTENT_TYPE}
        subject = subject_of(self._settings.subject, event)
        return await js.publish(subject, form(event), stream=self._settings.stream_name, headers=headers)

    def _outcome(self, events: Sequence[Event], answers: Sequence[api.PubAck | BaseException]) -> Outcome:
        refused: list[Refusal] = []
        known = 0
        for event, answer in zip(events, answers, strict=True):
            if isinstance(answer, api.PubAck):
                known += bool(answer.duplicate)
            elif self._has(answer):
                known += 1
            elif _is_too_long(answer):
                refused.append(Refusal(seq=event.position, code="too_large", message=_words(answer)))
            else:
                return self._failed(answer)
        return Taken(refused=tuple(refused), known=known)

    def _has(self, error: BaseException) -> bool:
        """Whether the event's own subject is taken, which only this event can have done."""
        return (
            self._settings.subject_is_identity
            and isinstance(error, APIError)
            and error.err_code == STORE_FAILED
            and PER_SUBJECT in str(error.description)
        )

    def _failed(self, error: BaseException) -> Failed:
        words = _words(error)
        match error:
            case NotFoundError():
                words = f"there is no stream {self._settings.stream_name}"
                return Failed(code="destination_misconfigured", detail=words, slow=True)
            case NoStreamResponseError():
                words = f"no stream takes the subject that {self._settings.subject!r} gives"
                return Failed(code="destination_misconfigured", detail=words, slow=True)
            case APIError(err_code=code) if code in FULL:
                return Failed(code="destination_full", detail=words, slow=True)
            case APIError(err_code=code) if code in MISCONFIGURED:
                return Failed(code="destination_misconfigured", detail=words, slow=True)
            case APIError():
                return Failed(code="server_error", detail=words)
            case TimeoutError() if self._forbidden:
                return Failed(code="forbidden", detail=self._forbidden, slow=True)
            case _ if is_refusal(error):
                return Failed(code="unauthorized", detail=words + why_refused(self._login), slow=True)
        codes = (code for kind, code in _BY_TYPE if isinstance(error, kind))
        return Failed(code=next(codes, "reset"), detail=words, slow=isinstance(error, ssl.SSLError | socket.gaierror))


_BY_TYPE: tuple[tuple[type[BaseException], str], ...] = (
    (ssl.SSLError, "tls"),
    (nats.errors.SecureConnWantedError, "tls"),
    (nats.errors.SecureConnRequiredError, "tls"),
    (socket.gaierror, "dns"),
    (ConnectionRefusedError, "refused"),
    (ConnectionError, "reset"),
    (TimeoutError, "timeout"),
    (nats.errors.NoRespondersError, "unavailable"),
    (OSError, "unreachable"),
)


def doubts(config: api.StreamConfig, settings: NatsSettings) -> list[str]:
    """What of a stream's settings may lose or double events, in words."""
    bounded = any(limit is not None and limit > 0 for limit in (config.max_bytes, config.max_msgs, config.max_age))
    found = {
        "it discards its oldest messages when it is full (discard: old)": bounded
        and config.discard is not api.DiscardPolicy.NEW,
        "it is kept in memory and is lost by a restart": config.storage is api.StorageType.MEMORY,
        "it keeps nothing that no consumer waits for (retention: interest)": config.retention
        is api.RetentionPolicy.INTEREST,
        f"it knows ids again for {config.duplicate_window or 0:g} s only, less than `interval_s`": (
            config.duplicate_window or 0
        )
        < settings.interval_s
        and not settings.subject_is_identity,
    }
    return [words for words, holds in found.items() if holds]


def _is_too_long(error: BaseException) -> bool:
    return isinstance(error, nats.errors.MaxPayloadError) or (
        isinstance(error, APIError) and error.err_code == TOO_LONG
    )


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
