"""What a live source's table must hold to, told with its place."""

from pathlib import Path

import pytest

from agent.config.findings import ConfigError, Finding
from agent.config.loading import load
from collectors.sip.kind import SipConfig

SITE = '[site]\nid = "0190a3c2-6f4b-7c11-9d5e-3a1f0c2b4d6e"\nprovider = "example"\n'
LIVE = '[[source]]\nkind = "sip"\n'


def config(tmp_path: Path, text: str) -> SipConfig:
    file = tmp_path / "pegcount.toml"
    file.write_text(SITE + text)
    found = load(file).sources[0].config
    assert isinstance(found, SipConfig)
    return found


def finding(tmp_path: Path, text: str) -> Finding:
    with pytest.raises(ConfigError) as caught:
        config(tmp_path, text)
    [found] = [one for one in caught.value.findings if one.severity == "error"]
    return found


def test_an_interface_stands_for_a_file(tmp_path: Path) -> None:
    found = config(tmp_path, LIVE + 'name = "a"\ninterface = "eth0"\n')
    assert (found.interface, found.engine, found.ports) == ("eth0", "afpacket", ("5060-5061", "5080"))


def test_a_file_and_an_interface_are_two_sources(tmp_path: Path) -> None:
    found = finding(tmp_path, LIVE + 'name = "a"\npath = "/dev/null"\ninterface = "eth0"\n')
    assert (found.line, found.message) == (7, "`source[0].path` and `interface` exclude each other")


def test_neither_is_no_source(tmp_path: Path) -> None:
    found = finding(tmp_path, LIVE + 'name = "a"\n')
    assert found.message == "`source[0].path` is empty: it must name a file"
    assert found.hint == "or set `interface` to capture live"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('ports = ["5060", "sip"]', '`source[0]`: ports "sip" is no port and no range; write 5060 or 5060-5080'),
        ('media_ports = ["70000"]', '`source[0]`: media_ports "70000" is no range of ports from 1 to 65535'),
    ],
)
def test_a_port_that_is_none_is_told_at_its_key(tmp_path: Path, line: str, message: str) -> None:
    found = finding(tmp_path, LIVE + f'name = "a"\ninterface = "eth0"\n{line}\n')
    assert (found.line, found.message) == (8, message)


def test_two_sources_on_one_interface_would_count_twice(tmp_path: Path) -> None:
    second = LIVE + 'name = "b"\ninterface = "eth0"\ncapture_socket = "/run/b/b.sock"\n'
    found = finding(tmp_path, LIVE + 'name = "a"\ninterface = "eth0"\n' + second)
    assert found.path == "source[1].interface"
    assert found.message == "two sources capture on eth0 (the other is source 1, `a`)"


def test_two_live_sources_need_a_capture_service_each(tmp_path: Path) -> None:
    found = finding(tmp_path, LIVE + 'name = "a"\ninterface = "eth0"\n' + LIVE + 'name = "b"\ninterface = "eth1"\n')
    assert found.message == "two sources take frames from /run/pegcount/capture.sock (the other is source 1, `a`)"


def test_files_need_none(tmp_path: Path) -> None:
    config(tmp_path, LIVE + 'name = "a"\npath = "/dev/null"\n' + LIVE + 'name = "b"\npath = "/dev/zero"\n')
