"""How a platform's key is followed by another one: a statement of the old key about the new one. Pure.

Law: whoever knows a key of the platform knows by these statements alone every one that came after it, and no other: nothing is
believed for having come from the platform's address.
"""

from collections.abc import Mapping, Sequence

from uplink.enrolment import PlatformKey, decoded, decoded_key, encoded
from uplink.keys import PrivateKey, key_id, verifies

SIGNATURE_BYTES = 64


def succession_text(old: str, new: bytes) -> bytes:
    """What a key (its id) signs about the public key that comes after it."""
    return f"pegcount-platform-key-1\n{old}\n{encoded(new)}\n".encode()


def introduce(old: PrivateKey, new: bytes) -> PlatformKey:
    """The new key, with the old one's statement."""
    signature = old.sign(succession_text(old.id, new))
    return PlatformKey(key=key_id(new), public=encoded(new), by=old.id, sig=encoded(signature))


def introduced(known: Mapping[str, bytes], told: Sequence[PlatformKey]) -> list[PlatformKey]:
    """Those of `told` that come after a known key (id -> public key), in the order in which each is known by the one before."""
    trusted = dict(known)
    found: list[PlatformKey] = []
    while fresh := [each for each in told if each.key not in trusted and _holds(each, trusted)]:
        for each in fresh:
            if each.key not in trusted:
                trusted[each.key] = decoded_key(each.public)
                found.append(each)
    return found


def trusted_with(ids: frozenset[str], told: Sequence[PlatformKey]) -> frozenset[str]:
    """These keys, known by their ids alone, and all that come after one of them by what is told."""
    known = {each.key: decoded_key(each.public) for each in told if each.key in ids and _is_itself(each)}
    return ids | {each.key for each in introduced(known, told)}


def _is_itself(told: PlatformKey) -> bool:
    try:
        return key_id(decoded_key(told.public)) == told.key
    except ValueError:
        return False


def _holds(told: PlatformKey, trusted: Mapping[str, bytes]) -> bool:
    """Whether a trusted key says so; False for what is malformed as well."""
    if told.by not in trusted:
        return False
    try:
        public, signature = decoded_key(told.public), decoded(told.sig, SIGNATURE_BYTES)
    except ValueError:
        return False
    return key_id(public) == told.key and verifies(trusted[told.by], signature, succession_text(told.by, public))
