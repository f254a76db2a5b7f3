"""The real files, and what counts as gone."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from damos_agent.host.filesystem import RealFilesystem, read_if_there
from tests.host.fakes import FakeFilesystem


@pytest.mark.parametrize("answer", [errno.ENOENT, errno.ESRCH, errno.ENODEV])
def test_gone_is_none(answer: int) -> None:
    assert read_if_there(FakeFilesystem({"/a": answer}), "/a") is None


def test_other_errors_are_raised() -> None:
    with pytest.raises(PermissionError):
        read_if_there(FakeFilesystem({"/a": errno.EACCES}), "/a")


def test_real_files_are_read_written_listed_and_followed(tmp_path: Path) -> None:
    fs = RealFilesystem()
    path = tmp_path / "a"
    path.write_bytes(b"x\xff\n" * 50_000)
    assert fs.read(str(path)) == "x\ufffd\n" * 50_000
    fs.write(str(path), "new")
    assert path.read_bytes().startswith(b"newx")
    (tmp_path / "b").symlink_to("a")
    assert sorted(fs.listdir(str(tmp_path))) == ["a", "b"]
    assert fs.readlink(str(tmp_path / "b")) == "a"
    assert fs.exists(str(path))
    assert not fs.exists(str(tmp_path / "c"))
    assert read_if_there(fs, str(tmp_path / "c")) is None
