"""The bindings of a registrar: which contact stands for which address of record until when, and the records of that.

Laws
- A binding is an address of record and a device: its instance and flow (RFC 5626 section 6), else its contact (RFC 3261 section
  10). A refresh is never a new one, nor is a new port or connection of the same instance: a record is made when a binding
  begins, once in each further UTC hour in which it is refreshed, and when it ends or runs out.
- A limit takes the binding that was refreshed longest ago; its seat has been told of already.
- A seat that registers at a device where another seat has been since, and is gone, is a use of `hot_desk`.
"""

from collections import OrderedDict
from hashlib import blake2b

from collectors.records import FeatureUse, Record, Registration
from collectors.sip.address import bare, text
from collectors.sip.contacts import EVERY, Contact
from collectors.sip.devices import Devices
from collectors.sip.limits import Limits
from collectors.sip.state import Binding, Stay

HOUR_US = 3_600_000_000
SWEEP_US = 60_000_000
"""How often bindings are looked through for those that ran out; their records tell the right time all the same."""

HOT_DESK_US = 86_400_000_000
"""How long ago another seat may have left a device for its next one to share the desk with it: a day."""

STAYS_PER_DEVICE = 16
"""Addresses of record remembered of one device: the largest desk phones have 16 lines. The oldest goes, which can only hide a
use of `hot_desk`."""


class Bindings:
    def __init__(self, limits: Limits, devices: Devices, counters: dict[str, int], records: list[Record]) -> None:
        self.limits = limits
        self.devices = devices
        self.counters = counters
        self.records = records
        self.known: OrderedDict[str, Binding] = OrderedDict()
        """In the order of their last refresh."""
        self.stays: OrderedDict[str, dict[str, Stay]] = OrderedDict()
        """Of each device: when which address of record was registered at it."""
        self.swept_us = 0
        self._of_aor: dict[str, dict[str, None]] = {}
        self._endpoints: dict[str, str] = {}

    def endpoint_of(self, uri: bytes) -> str:
        """The endpoint that registered this contact, or nothing."""
        return self._endpoints.get(bare(uri), "") if self._endpoints and uri else ""

    def has(self, aor: str) -> bool:
        """Whether anything is, or was lately, registered for this address of record."""
        return aor in self._of_aor

    # --- what a registrar granted

    def take(self, contact: Contact, at_us: int) -> None:
        if contact.uri == EVERY:
            self._end_all(contact.aor, at_us)
            return
        before = self.known.get(contact.key)
        if contact.seconds == 0:
            if before is not None and not before.ended and before.contact == contact.uri:
                self._end(before, at_us)
            return
        if before is not None:
            self.known.move_to_end(contact.key)
        expires_us = at_us + contact.seconds * 1_000_000
        if before is not None and not before.ended and before.hour == at_us // HOUR_US:
            self._refresh(before, contact, expires_us)
        else:
            self._begin(contact, before, expires_us, at_us)

    def _refresh(self, binding: Binding, contact: Contact, expires_us: int) -> None:
        binding.expires_us = expires_us
        if binding.contact != contact.uri or binding.also != contact.also:
            self._forget_names(binding)
            binding.contact, binding.also = contact.uri, contact.also
            self._learn_names(binding)

    def _begin(self, contact: Contact, before: Binding | None, expires_us: int, at_us: int) -> None:
        """A new binding, or the first refresh of this hour."""
        now = Binding(
            endpoint=contact.endpoint,
            aor=contact.aor,
            contact=contact.uri,
            instance=contact.identity,
            user_agent=text(contact.user_agent),
            expires_us=expires_us,
            hour=at_us // HOUR_US,
            device=self.devices.of_contact(contact.user_agent, contact.mobile),
            device_id=contact.device_id,
            also=contact.also,
        )
        if before is not None:
            now.ordinal = before.ordinal + before.ended if before.hour == now.hour else 0
            self._forget_names(before)
        elif len(self.known) >= self.limits.bindings:
            self._remove(next(iter(self.known)))
            self.counters["bindings_evicted"] += 1
        self.known[contact.key] = now
        self._of_aor.setdefault(now.aor, {})[contact.key] = None
        self._learn_names(now)
        self._record(now, at_us, expires_us, "registered")
        if now.device_id and (before is None or before.ended):
            self._arrive(now, at_us)

    def _learn_names(self, binding: Binding) -> None:
        for uri in (binding.contact, *binding.also):
            self._endpoints[uri] = binding.endpoint

    def _forget_names(self, binding: Binding) -> None:
        for uri in (binding.contact, *binding.also):
            if self._endpoints.get(uri) == binding.endpoint:
                del self._endpoints[uri]

    # --- the end of a binding

    def _end_all(self, aor: str, at_us: int) -> None:
        for key in self._of_aor.get(aor, ()):
            if not self.known[key].ended:
                self._end(self.known[key], at_us)

    def _end(self, binding: Binding, at_us: int) -> None:
        self._record(binding, at_us, at_us, "ended")
        binding.ended, binding.expires_us = True, at_us
        self._forget_names(binding)
        stay = self.stays.get(binding.device_id, {}).get(binding.aor)
        if stay is not None and not self._is_there(binding):
            stay.ended_us = at_us

    def _is_there(self, binding: Binding) -> bool:
        """Whether the device is still registered for this address of record, by another contact."""
        siblings = (self.known[key] for key in self._of_aor[binding.aor])
        return any(other.device_id == binding.device_id and not other.ended for other in siblings)

    def _remove(self, key: str) -> None:
        gone = self.known.pop(key)
        if not gone.ended:
            self._forget_names(gone)
        siblings = self._of_aor[gone.aor]
        del siblings[key]
        if not siblings:
            del self._of_aor[gone.aor]

    def run(self, now_us: int) -> None:
        """End what has run out, forget what has been over for long."""
        if now_us < self.swept_us + SWEEP_US:
            return
        self.swept_us = now_us
        gone = []
        for key, binding in self.known.items():
            if binding.ended:
                if binding.expires_us // HOUR_US != now_us // HOUR_US:
                    gone.append(key)
            elif binding.expires_us <= now_us:
                self._end(binding, binding.expires_us)
        for key in gone:
            self._remove(key)

    # --- records

    def _record(self, binding: Binding, at_us: int, expires_us: int, state: str) -> None:
        contact = "" if binding.instance else binding.contact
        parts = (binding.aor, contact, binding.instance, str(at_us // HOUR_US), str(binding.ordinal), state)
        self.records.append(
            Registration(
                key=record_key(*parts),
                endpoint=binding.endpoint,
                contact=binding.contact,
                at_ms=at_us // 1000,
                expires_at_ms=expires_us // 1000,
                state="ended" if state == "ended" else "registered",
                user_agent=binding.user_agent,
                device=binding.device,
            )
        )

    def _arrive(self, binding: Binding, at_us: int) -> None:
        """A seat comes to a device. One that was there last itself, and the lines of one phone that register together, share it
        with nobody."""
        stays = self._stays_at(binding.device_id)
        mine = stays.get(binding.aor)
        if mine is not None and not mine.ended_us:
            return
        left_us = mine.ended_us if mine is not None else 0
        if any(other.begun_us > left_us and other.ended_us > at_us - HOT_DESK_US for other in stays.values()):
            key = record_key("hot_desk", binding.aor, binding.device_id, str(at_us))
            use = FeatureUse(code="hot_desk", endpoint=binding.endpoint, at_ms=at_us // 1000, key=key)
            self.records.append(use)
        stays.pop(binding.aor, None)
        if len(stays) >= STAYS_PER_DEVICE:
            del stays[next(iter(stays))]
        stays[binding.aor] = Stay(at_us)

    def _stays_at(self, device_id: str) -> dict[str, Stay]:
        stays = self.stays.get(device_id)
        if stays is None:
            if len(self.stays) >= self.limits.bindings:
                self.stays.popitem(last=False)
                self.counters["devices_evicted"] += 1
            stays = self.stays[device_id] = {}
        self.stays.move_to_end(device_id)
        return stays

    # --- state

    def restore(self, known: dict[str, Binding], stays: dict[str, dict[str, Stay]], swept_us: int) -> None:
        self.known, self.stays, self.swept_us = OrderedDict(known), OrderedDict(stays), swept_us
        self._of_aor, self._endpoints = {}, {}
        for key, binding in self.known.items():
            self._of_aor.setdefault(binding.aor, {})[key] = None
            if not binding.ended:
                self._learn_names(binding)


def record_key(*parts: str) -> str:
    """A record's key: of what it says, and nothing else."""
    return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
