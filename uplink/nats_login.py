"""What a NATS server may be shown: a user and a password, a token, the seed of an nkey, or a credentials file; and TLS.

Law: checking opens no file and needs no library. What the files hold is read by `nats_credentials.py`.
"""

from msgspec import Struct


class NatsLogin(Struct, frozen=True, kw_only=True):
    """Files, all of them; but for `user`, whose password is the first line of `password_file`. `tls`: whether it is asked for
    beyond what the server's address says."""

    user: str = ""
    password_file: str = ""
    token_file: str = ""
    creds_file: str = ""
    nkey_file: str = ""
    ca_file: str = ""
    certificate: str = ""
    key_file: str = ""
    tls: bool = False

    def check(self) -> None:
        """Raises ValueError, in words of the settings. Opens no file."""
        given = [key for key in ("user", "token_file", "creds_file", "nkey_file") if getattr(self, key)]
        if len(given) > 1:
            raise ValueError(f"only one of {' and '.join(given)} can be given")
        if bool(self.user) != bool(self.password_file):
            raise ValueError("user and password_file belong together")
        if bool(self.certificate) != bool(self.key_file):
            raise ValueError("certificate and key_file belong together")
