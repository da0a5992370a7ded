"""NATS servers that ask who comes: for each way, the server's configuration and what both ends show."""

from pathlib import Path
from typing import Any

from msgspec import Struct

from tests.uplink.nats_keys import Operator, user_key

SECRET = "open-sesame"


class Guard(Struct, frozen=True):
    """`configuration`: of the server. `operator`: how the client library comes in. `settings`: of a destination."""

    configuration: str
    operator: dict[str, Any]
    settings: dict[str, str]


def guards(folder: Path) -> dict[str, Guard]:
    secret = folder / "secret"
    secret.write_text(f"{SECRET}\n")
    nkey, seed = user_key(), folder / "seed"
    seed.write_bytes(nkey.seed + b"\n")
    issuer = Operator()
    creds = issuer.let_in(folder / "pegcount.creds")
    return {
        "password": Guard(
            f'authorization {{ user: "meter", password: "{SECRET}" }}',
            {"user": "meter", "password": SECRET},
            {"user": "meter", "password_file": str(secret)},
        ),
        "token": Guard(
            f'authorization {{ token: "{SECRET}" }}',
            {"token": SECRET},
            {"token_file": str(secret)},
        ),
        "nkey": Guard(
            f"authorization {{ users: [ {{ nkey: {nkey.public} }} ] }}",
            {"nkeys_seed": str(seed)},
            {"nkey_file": str(seed)},
        ),
        "creds": Guard(
            issuer.configuration,
            {"user_credentials": str(creds)},
            {"creds_file": str(creds)},
        ),
    }


NAMES = ("password", "token", "nkey", "creds")


def wrong(folder: Path, name: str) -> dict[str, str]:
    """What is shown by somebody else: of the same kind."""
    other = folder / "wrong"
    other.mkdir(exist_ok=True)
    given = guards(other)[name].settings
    (other / "secret").write_text("guessed\n")
    return given
