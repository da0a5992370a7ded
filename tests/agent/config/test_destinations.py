"""`[[destination]]` in the configuration file, where several tables have to agree."""

from pathlib import Path

import pytest

from agent.config import ConfigError, load
from tests.agent.config.test_config import SITE

FILES = """
[[destination]]
name = "{name}"
kind = "files"
folder = "{folder}"
form = "{form}"
"""


def written(folder: Path, *destinations: tuple[str, str]) -> Path:
    path = folder / "pegcount.toml"
    tables = (FILES.format(name=f"d{n}", folder=where, form=form) for n, (where, form) in enumerate(destinations))
    path.write_text(SITE + f'[ledger]\npath = "{folder}/ledger.db"\n' + "".join(tables))
    return path


def test_two_destinations_may_not_put_files_of_one_form_into_one_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"two destinations put csv into /srv/out \(the other is `d0`\)"):
        load(written(tmp_path, ("/srv/out", "csv"), ("/srv/out/", "csv")))


def test_two_forms_or_two_folders_are_no_fault(tmp_path: Path) -> None:
    load(written(tmp_path, ("/srv/out", "csv"), ("/srv/out", "jsonl"), ("/srv/other", "csv")))


SFTP = """
[[destination]]
name = "{host}{port}"
kind = "sftp"
host = "{host}"
port = {port}
user = "meter"
key_file = "/etc/pegcount/key"
known_hosts = "/etc/pegcount/known_hosts"
folder = "in/"
"""


def test_two_servers_have_two_folders_and_one_server_one(tmp_path: Path) -> None:
    path = written(tmp_path, ("/in", "csv"))
    alone = path.read_text()
    places = [("a", 22), ("a", 2022), ("b", 22)]
    path.write_text(alone + "".join(SFTP.format(host=host, port=port) for host, port in places))
    load(path)
    path.write_text(
        path.read_text() + SFTP.format(host="a", port=22).replace('"a22"', '"again"').replace('"in/"', '"in"')
    )
    with pytest.raises(ConfigError, match=r"two destinations put csv into a:22 in \(the other is `a22`\)"):
        load(path)
