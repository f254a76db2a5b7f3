"""What lands on stderr, byte for byte."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from damos_agent import __version__
from damos_agent.agent.event_spec import Event
from damos_agent.agent.events import emit
from damos_agent.agent.log import journal_reads, open_log
from damos_agent.model.settings import LogFormat, LogLevel

EPOCH_2026 = 1_767_225_600.25


def lines(log_format: LogFormat, level: LogLevel = LogLevel.INFO) -> list[str]:
    stream = io.StringIO()
    logger = open_log(log_format, level, stream=stream, environ={}, clock=lambda: EPOCH_2026)
    emit(logger, Event.RELOAD_STARTED, trigger="signal")
    emit(logger, Event.POOL_CREATED, slots=16)
    emit(logger, Event.WATCH_FAILED, path="/a\n\udcff", message="no")
    return stream.getvalue().splitlines()


def test_json_lines_are_whole_and_in_reading_order() -> None:
    created, failed = lines(LogFormat.JSON)
    head = '{"timestamp": "2026-01-01T00:00:00.250000Z", "level": "info", "event": "pool_created"'
    assert created.startswith(head)
    assert json.loads(created)["slots"] == 16
    assert json.loads(created)["pid"] == os.getpid()
    assert json.loads(created)["version"] == __version__
    assert json.loads(failed)["path"] == "/a\n\udcff"


def test_a_string_stream_is_no_terminal_so_auto_means_json() -> None:
    assert all(json.loads(line) for line in lines(LogFormat.AUTO))


def test_text_is_readable_and_one_line_each() -> None:
    created, failed = lines(LogFormat.TEXT)
    assert "pool_created" in created
    assert "slots=16" in created
    assert "\x1b" not in created
    assert "watch_failed" in failed


def test_levels_filter() -> None:
    assert len(lines(LogFormat.JSON, LogLevel.DEBUG)) == 3
    assert len(lines(LogFormat.JSON, LogLevel.ERROR)) == 0


def test_a_terminal_gets_text_and_colour(tmp_path: Path) -> None:
    master, slave = os.openpty()
    with os.fdopen(slave, "w") as terminal:
        logger = open_log(LogFormat.AUTO, LogLevel.INFO, stream=terminal, environ={})
        emit(logger, Event.POOL_CREATED, slots=1)
        coloured = os.read(master, 4096)
        logger = open_log(LogFormat.AUTO, LogLevel.INFO, stream=terminal, environ={"NO_COLOR": "1"})
        emit(logger, Event.POOL_CREATED, slots=1)
        plain = os.read(master, 4096)
    os.close(master)
    assert b"\x1b[" in coloured
    assert b"\x1b[" not in plain
    assert b"pool_created" in plain


def stream_name(path: Path) -> str:
    status = path.stat()
    return f"{status.st_dev}:{status.st_ino}"


def test_priorities_only_on_the_stream_the_journal_reads(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    other.touch()
    for target, expected in ((mine, b"<4>{"), (other, b"{")):
        with mine.open("w") as stream:
            environ = {"JOURNAL_STREAM": stream_name(target)}
            logger = open_log(LogFormat.AUTO, LogLevel.INFO, stream=stream, environ=environ)
            emit(logger, Event.WATCH_FAILED, path="/a", message="no")
        assert mine.read_bytes().startswith(expected)


@pytest.mark.parametrize("value", ["", "8", "8:", ":8", "a:b", "-1:2"])
def test_a_strange_journal_stream_is_none(value: str) -> None:
    assert not journal_reads({"JOURNAL_STREAM": value}, 2)


def test_a_reader_that_has_gone_does_not_end_us() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", buffering=1) as stream:
        logger = open_log(LogFormat.JSON, LogLevel.INFO, stream=stream, environ={})
        emit(logger, Event.POOL_CREATED, slots=1)
        emit(logger, Event.POOL_CREATED, slots=2)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())  # so that closing can flush
        os.close(null)


def test_logging_loads_no_rich_and_leaves_it_importable() -> None:
    script = (
        "import sys\n"
        "from damos_agent.agent.log import open_log\n"
        "from damos_agent.model.settings import LogFormat, LogLevel\n"
        "open_log(LogFormat.TEXT, LogLevel.INFO).info('pool_created', slots=1)\n"
        "assert not [name for name in sys.modules if name.split('.')[0] == 'rich']\n"
        "import rich\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
