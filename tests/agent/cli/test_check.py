"""`pegcount check`, and `pegcount run` with a wrong configuration."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from agent.cli.main import main
from tests.agent.cli.commands import CHECKOUT, SITE, pegcount, process
from tests.uplink.enrolled import SITE as ENROLLED
from tests.uplink.enrolled import enrol_at, give_token, platform_at

WRONG = (
    SITE
    + '[ledger]\npath = "{ledger}"\nretention_day = 3\n[uplink]\nurl = "https://meter.example.net"\npasword = "x"\n'
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pegcount.toml"


def test_a_correct_file_is_told_in_a_line(file: Path, tmp_path: Path) -> None:
    source = f'[[source]]\nname = "pbx"\nkind = "asterisk_cdr"\npath = "{tmp_path}/Master.csv"\n'
    file.write_text(SITE + source)
    done = pegcount("check", "--config", file)
    assert (done.status, done.err) == (0, "")
    assert done.out == f"{file}: correct: 1 source (pbx), sending nothing\n"
    file.write_text(SITE + source + f'[[destination]]\nname = "csv"\nkind = "files"\nfolder = "{tmp_path}"\n')
    done = pegcount("check", "--config", file)
    assert (done.status, done.out) == (0, f"{file}: correct: 1 source (pbx), sending to csv\n")


def test_each_finding_is_a_line_with_its_place(file: Path) -> None:
    file.write_text(WRONG)
    done = pegcount("check", "--config", file)
    assert (done.status, done.err) == (78, "")
    lines = done.out.splitlines()
    assert lines[0] == f"{file}:11:1: unknown key `retention_day` in `ledger` (did you mean `retention_days`?)"
    assert lines[1].startswith(f"{file}:14:1: unknown key `pasword` in `uplink`")
    assert len(lines) == 2


def test_warnings_stop_nothing(file: Path) -> None:
    file.write_text(SITE)
    done = pegcount("check", "--config", file)
    assert done.status == 0
    assert "warning: there is no `[[source]]`" in done.out


async def test_a_machine_that_is_enrolled_as_another_site_is_told(file: Path, tmp_path: Path) -> None:
    async with platform_at(tmp_path) as receiver:
        await give_token(receiver.store)
        await enrol_at(receiver.url, tmp_path / "identity")
        file.write_text(f'{SITE}[ledger]\npath = "{tmp_path}/ledger.db"\n[uplink]\nurl = "{receiver.url}"\n')
    done = pegcount("check", "--config", file)
    assert (done.status, done.err) == (78, "")
    assert done.out.startswith(f'{file}:2:6: this machine is enrolled as "{ENROLLED}"')


def test_a_file_that_is_not_there_is_a_wrong_configuration(tmp_path: Path) -> None:
    done = pegcount("check", "--config", tmp_path / "none.toml")
    assert (done.status, done.out) == (78, f"{tmp_path}/none.toml: cannot be read: No such file or directory\n")


def test_the_example_file_is_correct() -> None:
    done = pegcount("check", "--config", CHECKOUT / "packaging/pegcount.toml")
    assert done.status == 0, done.out


def test_the_file_may_be_named_by_the_environment(file: Path) -> None:
    file.write_text(SITE + "[lgo]\n")
    result = CliRunner().invoke(main, ["check"], env={"PEGCOUNT_CONFIG": str(file)})
    assert result.exit_code == 78
    assert "did you mean `log`?" in result.stdout


def test_a20_run_with_a_wrong_file_ends_with_78_and_leaves_the_ledger_alone(file: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    ledger.write_bytes(b"not opened, or this would be moved aside")
    file.write_text(WRONG.format(ledger=ledger))
    before = sorted(tmp_path.iterdir())
    done = process("run", "--config", file)
    assert (done.status, done.out) == (78, "")
    assert f"{file}:11:1: unknown key `retention_day`" in done.err
    assert ledger.read_bytes() == b"not opened, or this would be moved aside"
    assert sorted(tmp_path.iterdir()) == before
