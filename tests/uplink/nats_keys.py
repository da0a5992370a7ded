"""Keys, accounts and credentials of NATS, as its own tool (`nsc`) would make them: nkeys, and JWTs of version 2.

Form: https://github.com/nats-io/jwt (v2), and docs.nats.io, "JWTs and NKeys".
"""

import base64
import json
import os
import time
from pathlib import Path
from typing import Any

import nkeys

UNLIMITED = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1) | {"wildcards": True}
JETSTREAM = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)


class Nkey:
    def __init__(self, prefix: int) -> None:
        self.seed: bytes = nkeys.encode_seed(os.urandom(32), prefix)
        self._pair = nkeys.from_seed(self.seed)
        self.public: str = self._pair.public_key.decode()

    def signed(self, subject: "Nkey", kind: str, expires_s: int = 0, **claims: Any) -> str:
        """A JWT by this key about another."""
        body = {
            "jti": "made-by-a-test",
            "iat": int(time.time()),
            "iss": self.public,
            "sub": subject.public,
            "name": kind,
        }
        body["nats"] = {**claims, "type": kind, "version": 2}
        if expires_s:
            body["exp"] = expires_s
        said = f"{_part({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_part(body)}"
        return f"{said}.{_base64(self._pair.sign(said.encode()))}"


def user_key() -> Nkey:
    return Nkey(nkeys.PREFIX_BYTE_USER)


class Operator:
    """An operator, and one account with JetStream. `configuration` is for a server that trusts it."""

    def __init__(self) -> None:
        key, system = Nkey(nkeys.PREFIX_BYTE_OPERATOR), Nkey(nkeys.PREFIX_BYTE_ACCOUNT)
        self._account = Nkey(nkeys.PREFIX_BYTE_ACCOUNT)
        account = key.signed(self._account, "account", limits=UNLIMITED | JETSTREAM)
        self.configuration = f"""
operator: {key.signed(key, "operator")}
system_account: {system.public}
resolver: MEMORY
resolver_preload: {{
  {system.public}: {key.signed(system, "account", limits=UNLIMITED)}
  {self._account.public}: {account}
}}
"""

    def let_in(self, path: Path, expires_s: int = 0, **permissions: Any) -> Path:
        """A credentials file of a new user. `expires_s`: seconds since 1970, 0 for never."""
        user = user_key()
        limits = {"subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {}}
        jwt = self._account.signed(user, "user", expires_s, **(limits | permissions))
        path.write_text(
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n------END USER NKEY SEED------\n"
        )
        return path


def _part(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")
