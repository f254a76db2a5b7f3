"""Real child processes that answer, lie, hang, hog and crash."""

import json
import os
import select
import sys
import time
from pathlib import Path

import pytest

from damos_agent.agent.compiler import (
    ChildLimits,
    Compilation,
    compile_policies,
    compiler_command,
)
from damos_agent.model.codec import encode
from damos_agent.model.compiled import Compiled, CompiledFile
from damos_agent.model.errors import CompileError
from damos_agent.model.finding import Finding, Severity
from damos_agent.model.settings import Settings

ANSWER = Compiled(
    Settings(slots=3),
    (
        CompiledFile(
            "/etc/damos-agent/policies.d/10-a.yaml",
            "d1",
            None,
            (Finding("DA001", Severity.ERROR, "no", "10-a.yaml", 3, 1, "fix", "a"),),
        ),
    ),
)


def script(text: str) -> list[str]:
    return [sys.executable, "-S", "-c", text]


def test_the_answer_comes_back_whole() -> None:
    text = f"print({json.dumps(encode(ANSWER))!r})"
    assert compile_policies("/", command=script(text)) == ANSWER


def test_a_large_answer_does_not_block() -> None:
    files = tuple(CompiledFile(f"/{n}", "d" * 64, None) for n in range(20_000))
    big = Compiled(None, files)
    text = (
        "import json\n"
        "f = lambda n: {'path': f'/{n}', 'digest': 'd' * 64, 'policy': None}\n"
        "print(json.dumps({'settings': None, 'files': [f(n) for n in range(20000)]}))"
    )
    assert compile_policies("/", command=script(text)) == big


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise SystemExit('out of cheese')", "failed: out of cheese"),
        ("raise ValueError('boom')", "failed: ValueError: boom"),
        ("raise SystemExit(3)", "failed: exit status 3"),
        ("import os; os.kill(os.getpid(), 11)", "died of SIGSEGV"),
        ("print('hello')", "cannot be read"),
        ("print('[]')", "cannot be read"),
        ("print('{}')", "cannot be read"),
        ("import sys; print('uh oh', file=sys.stderr)", "it said: uh oh"),
    ],
)
def test_failures_are_told(text: str, message: str) -> None:
    with pytest.raises(CompileError, match=message) as caught:
        compile_policies("/", command=script(text))
    assert caught.value.hint


def test_a_missing_interpreter_is_told() -> None:
    with pytest.raises(CompileError, match="cannot be started"):
        compile_policies("/", command=["/nonexistent/python"])


def test_one_that_hangs_is_killed() -> None:
    limits = ChildLimits(time_s=0.3)
    started = time.monotonic()
    with pytest.raises(CompileError, match=r"more than 0\.3 s"):
        compile_policies("/", command=script("import time; time.sleep(60)"), limits=limits)
    assert time.monotonic() - started < 5


def test_one_that_burns_cpu_is_killed() -> None:
    limits = ChildLimits(cpu_s=1)
    with pytest.raises(CompileError, match="killed: more than 1 s of CPU"):
        compile_policies("/", command=script("while True: pass"), limits=limits)


def test_one_that_eats_memory_fails_alone() -> None:
    text = "import time; time.sleep(0.2); x = bytearray(400 << 20)"
    limits = ChildLimits(memory_bytes=256 << 20)
    with pytest.raises(CompileError, match="more than 256 MiB"):
        compile_policies("/", command=script(text), limits=limits)


def test_one_that_floods_its_output_is_stopped() -> None:
    text = "import time; time.sleep(0.2)\nwhile True: print('x' * 65536)"
    limits = ChildLimits(output_bytes=1 << 20)
    with pytest.raises(CompileError, match="File too large"):
        compile_policies("/", command=script(text), limits=limits)


def test_the_child_inherits_neither_descriptors_nor_environment(tmp_path: Path) -> None:
    os.environ["DAMOS_SECRET"] = "x"
    report = tmp_path / "report"
    text = (
        "import os, json\n"
        f"out = open({str(report)!r}, 'w')\n"
        "fds = [n for n in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{n}')]\n"
        "json.dump([sorted(os.environ), len(fds)], out)\n"
        'print(\'{"settings": null, "files": []}\')'
    )
    with (tmp_path / "ours").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        compile_policies("/", command=script(text))
    del os.environ["DAMOS_SECRET"]
    names, descriptors = json.loads(report.read_text())
    assert set(names) <= {"LANG", "LC_CTYPE", "PYTHONPATH"}
    assert descriptors == 4  # the three standard ones and the report


def test_it_can_be_awaited_in_a_selector_and_leaves_nothing_behind() -> None:
    before = set(os.listdir("/proc/self/fd"))
    child = Compilation(script('print(\'{"settings": null, "files": []}\')'))
    assert select.select([child], [], [], 10)[0] == [child]
    assert child.result() == Compiled(None, ())
    assert set(os.listdir("/proc/self/fd")) == before
    assert not os.path.exists(f"/proc/{child.pid}")


def test_it_can_be_given_up() -> None:
    before = set(os.listdir("/proc/self/fd"))
    child = Compilation(script("import time; time.sleep(60)"))
    child.cancel()
    assert set(os.listdir("/proc/self/fd")) == before
    assert not os.path.exists(f"/proc/{child.pid}")


def test_the_command_keeps_the_current_directory_off_the_path() -> None:
    command = compiler_command("/somewhere")
    assert command[0] == sys.executable
    assert "-P" in command
    assert command[-3:] == ["--config-root", "/somewhere", "--held"]
