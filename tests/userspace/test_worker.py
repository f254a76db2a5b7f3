"""The monitor process from inside: who is served, who is not, and what it listens to."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pytest

from damos_agent.model.codec import decode, encode
from damos_agent.model.damon import Placement
from damos_agent.model.errors import HostError, UnsupportedError
from damos_agent.model.policy import (
    Action,
    Filter,
    FilterType,
    Mode,
    Policy,
    ProbeChoice,
    Scheme,
    Userspace,
)
from damos_agent.model.userspace import Ask, Message, Orders, Report, Rung, Work
from damos_agent.userspace import worker
from damos_agent.userspace.ladder import Ladder
from damos_agent.userspace.worker import Contexts, Line
from tests.userspace.contexting import (
    BASE,
    MIB,
    SLOW,
    FakeMachine,
    FakeMappings,
    FakePages,
    pageout,
    policy_of,
)


@dataclass
class FakeLadder:
    """Pages, unless whole mappings are asked for or are all there is (`mappings`); `broken` probes
    work after a while.
    """

    machine: FakeMachine
    broken: bool = False
    proof_ns: int = 0
    mappings: bool = False
    asked: list[tuple[ProbeChoice, bool]] = field(default_factory=list)

    def choose(self, wanted: ProbeChoice, *, again: bool = False) -> object:
        self.asked.append((wanted, again))
        self.machine.cpu_ns += self.proof_ns
        if self.broken and not again:
            raise UnsupportedError("no probe tells accesses here")
        kind = FakeMappings if self.mappings or wanted is ProbeChoice.VMA else FakePages
        return kind(self.machine)

    def rungs(self) -> tuple[Rung, ...]:
        return ()

    def close(self) -> None:
        pass


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return FakeMachine(str(tmp_path))


def contexts_of(machine: FakeMachine, ladder: FakeLadder | None = None) -> Contexts:
    return Contexts(machine.tools(), cast("Ladder", ladder or FakeLadder(machine)))


def work(machine: FakeMachine, policy: Policy, *pids: int) -> Work:
    return Work(policy, tuple(machine.processes[pid].placement for pid in pids))


def turn(machine: FakeMachine, contexts: Contexts, seconds: float) -> None:
    end_us = machine.now_us + int(seconds * 1e6)
    while (due_us := contexts.due_us) is not None and due_us <= end_us:
        machine.now_us = max(machine.now_us, due_us)
        contexts.turn(lambda: machine.now_us)
    machine.now_us = end_us


def names(contexts: Contexts) -> dict[str, str]:
    return {one.policy: one.refused for one in contexts.report(snapshots=False)}


def ages(contexts: Contexts) -> list[int]:
    return [
        r.age_us for c in contexts.report(snapshots=True) if c.snapshot for r in c.snapshot.regions
    ]


def test_one_policy_s_trouble_is_not_the_others(machine: FakeMachine) -> None:
    """Refused with the reason, and tried again."""
    machine.add(700)
    machine.add(701)
    contexts = contexts_of(machine)
    good, bad = (
        policy_of(name="good"),
        policy_of(Scheme(Action.LRU_PRIO), mode=Mode.ENFORCE, name="bad"),
    )
    contexts.follow(Orders((work(machine, good, 700), work(machine, bad, 701))), machine.now_us)
    turn(machine, contexts, 10)
    assert names(contexts)["good"] == ""
    assert "lru_prio cannot be done from user space" in names(contexts)["bad"]
    mended = replace(bad, mode=Mode.OBSERVE)
    contexts.follow(Orders((work(machine, good, 700), work(machine, mended, 701))), machine.now_us)
    assert names(contexts) == {"good": "", "bad": ""}


def test_a_filter_on_pages_takes_a_probe_that_tells_them(machine: FakeMachine) -> None:
    """Known only once the ladder has chosen; the policy is then unsupported, and says why."""
    machine.add(700)
    young = Scheme(Action.COLD, filters=(Filter(FilterType.YOUNG, allow=False),))
    orders = Orders((work(machine, policy_of(young), 700),))
    contexts = contexts_of(machine, FakeLadder(machine, mappings=True))
    contexts.follow(orders, machine.now_us)
    assert "'young' is about single pages, which probe vma does not" in names(contexts)["p"]
    assert "page_idle" in names(contexts)["p"]
    assert machine.locks() == []
    contexts = contexts_of(machine)
    contexts.follow(orders, machine.now_us)
    assert names(contexts) == {"p": ""}
    contexts.close()


def test_an_edit_that_cannot_be_done_ends_the_policy(machine: FakeMachine) -> None:
    """It does not go on by the old rules."""
    machine.add(700)
    contexts = contexts_of(machine)
    first = policy_of(pageout(), mode=Mode.ENFORCE)
    contexts.follow(Orders((work(machine, first, 700),)), machine.now_us)
    turn(machine, contexts, 5)
    second = replace(first, schemes=(Scheme(Action.LRU_PRIO),))
    contexts.follow(Orders((work(machine, second, 700),)), machine.now_us)
    assert "cannot be done" in names(contexts)["p"]
    assert machine.opened == 0
    assert machine.locks() == []
    machine.calls.clear()
    turn(machine, contexts, 60)
    assert machine.calls == []


def test_trouble_while_running(machine: FakeMachine) -> None:
    """A file that cannot be read ends one policy; it begins anew when it can."""
    machine.add(700)
    machine.add(701)
    contexts = contexts_of(machine)
    marked = policy_of(pageout(filters=()), name="a")
    contexts.follow(
        Orders((work(machine, marked, 700), work(machine, policy_of(name="b"), 701))),
        machine.now_us,
    )
    turn(machine, contexts, 5)
    context = contexts._running["a"]
    trouble = OSError(5, "Input/output error")

    def fail(now_us: int) -> None:
        raise trouble

    context.work = fail  # type: ignore[method-assign, union-attr]
    turn(machine, contexts, 0.5)
    assert names(contexts) == {"b": "", "a": "[Errno 5] Input/output error"}
    turn(machine, contexts, 3)
    assert names(contexts) == {"b": "", "a": ""}
    assert len(machine.locks()) == 2


def test_a_probe_that_works_later(machine: FakeMachine) -> None:
    """A self-test on a machine that was busy need not fail for ever."""
    machine.add(700)
    ladder = FakeLadder(machine, broken=True)
    contexts = contexts_of(machine, ladder)
    contexts.follow(Orders((work(machine, policy_of(), 700),)), machine.now_us)
    assert names(contexts) == {"p": "no probe tells accesses here"}
    contexts.follow(Orders((work(machine, policy_of(), 700),)), machine.now_us)
    assert len(ladder.asked) == 1
    turn(machine, contexts, 2)
    assert names(contexts) == {"p": ""}
    assert ladder.asked == [(ProbeChoice.AUTO, False), (ProbeChoice.AUTO, True)]


def test_it_starts_over_for_another_probe_only(machine: FakeMachine) -> None:
    """Everything else is an edit."""
    machine.add(700)
    contexts = contexts_of(machine)
    first = policy_of()
    contexts.follow(Orders((work(machine, first, 700),)), machine.now_us)
    turn(machine, contexts, 20)
    old = max(ages(contexts))
    edited = replace(first, monitoring=replace(SLOW, max_regions=500), schemes=(pageout(),))
    contexts.follow(Orders((work(machine, edited, 700),)), machine.now_us)
    turn(machine, contexts, 2)
    assert max(ages(contexts)) >= old
    other = replace(SLOW, userspace=Userspace(probe=ProbeChoice.VMA))
    contexts.follow(Orders((work(machine, replace(first, monitoring=other), 700),)), machine.now_us)
    turn(machine, contexts, 2)
    (report,) = contexts.report(snapshots=False)
    assert report.granularity == "mapping"
    assert len(machine.locks()) == 1


def test_a_process_of_two_policies_is_watched_by_one(machine: FakeMachine) -> None:
    """Two would forget each other's accesses."""
    machine.add(700)
    contexts = contexts_of(machine)
    both = [work(machine, policy_of(name=name), 700) for name in "ab"]
    contexts.follow(Orders(tuple(both)), machine.now_us)
    turn(machine, contexts, 5)
    assert names(contexts)["a"] == ""
    assert "watched already" in names(contexts)["b"]
    contexts.follow(Orders((both[1],)), machine.now_us)
    turn(machine, contexts, 20)
    assert names(contexts) == {"b": ""}
    contexts.close()
    assert machine.opened == 0
    assert contexts.due_us is None


def test_what_is_done_in_between_is_paid_for(machine: FakeMachine) -> None:
    """Answers and waiting cost CPU time too: whoever has the next turn is charged."""
    machine.add(700)
    contexts = contexts_of(machine)
    contexts.follow(Orders((work(machine, policy_of(), 700),)), machine.now_us)
    for _ in range(600):
        turn(machine, contexts, 0.1)
        machine.cpu_ns += 1_500_000
    (report,) = contexts.report(snapshots=False)
    assert report.stretched > 1


def test_proving_a_probe_says_nothing_of_the_pace(machine: FakeMachine) -> None:
    """Two seconds of CPU at the start, a budget of a percent: no minutes of silence."""
    machine.add(700)
    contexts = contexts_of(machine, FakeLadder(machine, proof_ns=2_000_000_000))
    contexts.follow(Orders((work(machine, policy_of(), 700),)), machine.now_us)
    turn(machine, contexts, 3)
    (report,) = contexts.report(snapshots=True)
    assert report.stretched == 1
    assert report.snapshot is not None
    assert report.snapshot.regions


def say(ours: socket.socket, *messages: Message) -> None:
    for message in messages:
        ours.sendall(json.dumps(encode(message)).encode() + b"\n")


def hear(ours: socket.socket, count: int = 1) -> list[Report]:
    data = b""
    while data.count(b"\n") < count:
        got = ours.recv(1 << 16)
        if not got:
            raise EOFError(data)
        data += got
    return [decode(Report, json.loads(line)) for line in data.splitlines()]


@pytest.fixture
def served(machine: FakeMachine) -> Iterator[tuple[socket.socket, list[object]]]:
    """Our end of a socket whose other end is served; and how that came to its end."""
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    contexts, ladder = contexts_of(machine), FakeLadder(machine)
    ended: list[object] = []

    def serve() -> None:
        try:
            worker.run(Line(theirs), contexts, cast("Ladder", ladder))
            ended.append("closed")
        except ConnectionAbortedError as error:
            ended.append(error)
        finally:
            contexts.close()
            theirs.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield ours, ended
    ours.close()
    thread.join(10)
    assert not thread.is_alive()


Served = tuple[socket.socket, list[object]]


def test_orders_and_answers(machine: FakeMachine, served: Served) -> None:
    """The answer carries the number of the question, and knows of the orders before it."""
    ours, _ = served
    machine.add(700)
    say(ours, Orders((work(machine, policy_of(), 700),)), Ask(7, snapshots=True))
    (report,) = hear(ours)
    assert report.number == 7
    assert report.contexts[0].targets == 1
    assert report.contexts[0].snapshot is not None
    say(ours, Orders(), Ask(8))
    assert hear(ours)[0].contexts == ()
    assert machine.opened == 0


def test_half_lines_and_many_at_once(machine: FakeMachine, served: Served) -> None:
    """A message ends with its line, however it comes."""
    ours, _ = served
    text = json.dumps(encode(Ask(1))).encode() + b"\n"
    ours.sendall(text[:5])
    ours.sendall(text[5:] + text * 3 + text[:9])
    assert [r.number for r in hear(ours, 4)] == [1] * 4
    ours.sendall(text[9:])
    assert len(hear(ours)) == 1


def test_orders_while_busy(machine: FakeMachine, served: Served) -> None:
    """They queue up; the last ones hold."""
    ours, _ = served
    for pid in range(700, 720):
        machine.add(pid, [(BASE, BASE + 4 * MIB)])
    for pid in range(700, 720):
        say(ours, Orders((work(machine, policy_of(), pid),)), Ask(pid))
    assert [r.number for r in hear(ours, 20)] == list(range(700, 720))
    assert len(machine.locks()) == 1
    assert machine.locks()[0].startswith("719-")


@pytest.mark.parametrize(
    "garbage", [b"nonsense", b'{"kind": "Else"}', b"[]", b"\xff\xfe", b'{"kind": "Ask"}']
)
def test_garbage(machine: FakeMachine, served: Served, garbage: bytes) -> None:
    """Nobody who says such things is the agent: everything is given back, and it ends."""
    ours, ended = served
    machine.add(700)
    say(ours, Orders((work(machine, policy_of(), 700),)), Ask(1))
    hear(ours)
    ours.sendall(garbage + b"\n")
    with pytest.raises(EOFError):
        hear(ours)
    assert "makes no sense" in str(ended[0])
    assert machine.locks() == []


def test_closing(machine: FakeMachine, served: Served) -> None:
    """The end of the agent is the end of the monitor."""
    ours, ended = served
    machine.add(700)
    say(ours, Orders((work(machine, policy_of(), 700),)), Ask(1))
    hear(ours)
    ours.shutdown(socket.SHUT_RDWR)
    for _ in range(1_000):
        if ended:
            break
        threading.Event().wait(0.01)
    assert ended == ["closed"]
    assert machine.locks() == []


def test_ours_is_no_target(machine: FakeMachine) -> None:
    """Nobody may be acted on under a pid of another time."""
    machine.add(700)
    contexts = contexts_of(machine)
    stale = Work(policy_of(pageout(), mode=Mode.ENFORCE), (Placement(700, 5),))
    contexts.follow(Orders((stale,)), machine.now_us)
    turn(machine, contexts, 20)
    assert machine.calls == []
    assert os.getpid() not in machine.processes


def test_a_storm_of_processes_does_not_break_the_budget(machine: FakeMachine) -> None:
    """Others all the time, each of which takes 4 ms to open: a tenth of a core, of which is 1 %."""
    machine.opening_ns = 4_000_000
    contexts = contexts_of(machine)
    machine.add(700)
    begun_us, begun_ns = machine.now_us, machine.cpu_ns
    for pid in range(700, 1500):
        machine.add(pid)
        contexts.follow(Orders((work(machine, policy_of(), pid),)), machine.now_us)
        turn(machine, contexts, 0.04)
    share = (machine.cpu_ns - begun_ns) / 1_000 / (machine.now_us - begun_us)
    assert 0.005 < share < 0.015
    contexts.close()


def test_what_starts_well_and_then_fails_is_tried_ever_more_rarely(machine: FakeMachine) -> None:
    """A privilege that is missed at the first action, say: no flapping, and a fresh start after
    an edit."""
    machine.add(700)
    contexts = contexts_of(machine)
    order = work(machine, policy_of(), 700)
    contexts.follow(Orders((order,)), machine.now_us)
    waits = []
    for _ in range(14):
        context = contexts._running["p"]
        context.work = _fail  # type: ignore[method-assign, union-attr]
        turn(machine, contexts, 0.2)
        waits.append((contexts._refused["p"].backoff.until_us - machine.now_us) / 1e6)
        machine.now_us = contexts._refused["p"].backoff.until_us
        contexts.turn(lambda: machine.now_us)
    assert waits == sorted(waits)
    assert 0 < waits[0] < 1
    assert 3599 < waits[-1] <= 3600
    edited = replace(order, policy=policy_of(mode=Mode.ENFORCE))
    contexts.follow(Orders((edited,)), machine.now_us)
    contexts._running["p"].work = _fail  # type: ignore[method-assign, union-attr]
    turn(machine, contexts, 0.2)
    assert contexts._refused["p"].backoff.until_us - machine.now_us < 1e6
    contexts.close()


def _fail(now_us: int) -> None:
    raise HostError("not allowed", errno=1)
