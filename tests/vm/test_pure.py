# SPDX-License-Identifier: Apache-2.0
"""The lab's parts that need no guest: apt sources, package choice, initramfs, QEMU's argv."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.vm.apt_sources import Source, derive, format_deb822, parse_deb822, parse_one_line
from tests.vm.guest import Job, job_script
from tests.vm.initramfs import Entry, load_order, write_newc
from tests.vm.packages import Kernel, PackageSet, choose
from tests.vm.plugin import Boot
from tests.vm.qemu import Boot as QemuBoot
from tests.vm.qemu import Machine, command
from tests.vm.report import parse_report

DEB822 = """\
# a comment
Types: deb deb-src
# another
URIs: http://mirror.test/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 xyz

Types: deb
URIs: http://mirror.test/security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Enabled: no
Types: deb
URIs: http://other.test/debian
Suites: sid
Components: main

Types: deb
URIs: http://vendor.test/apt
Suites: vendor-bookworm
Components: main
"""

ONE_LINE = """\
# deb http://commented.test/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg] http://mirror.test/debian bookworm main  # ours
deb-src http://mirror.test/debian bookworm main
deb http://mirror.test/security bookworm/updates main
"""


def test_only_the_suite_of_the_machines_debian_archives_is_replaced() -> None:
    derived = derive(parse_deb822(DEB822), ["trixie", "trixie-security"])
    assert [(one.uris, one.suites, one.components) for one in derived] == [
        (("http://mirror.test/debian",), ("trixie",), ("main",)),
        (("http://mirror.test/security",), ("trixie-security",), ("main",)),
    ]


def test_a_key_block_survives_the_rewriting() -> None:
    first = next(iter(derive(parse_deb822(DEB822), ["sid"])))
    again = list(parse_deb822(format_deb822([first])))
    assert again == [first]
    assert "xyz" in dict(first.options)["signed-by"]


def test_one_line_sources_are_understood() -> None:
    assert list(parse_one_line(ONE_LINE)) == [
        Source(
            ("http://mirror.test/debian",), ("bookworm",), ("main",), (("signed-by", "/k.gpg"),)
        ),
        Source(("http://mirror.test/security",), ("bookworm/updates",), ("main",)),
    ]


def test_a_newer_keyring_replaces_the_named_one() -> None:
    text = format_deb822(derive(parse_one_line(ONE_LINE), ["sid"]), keyring=Path("/new.gpg"))
    assert [line for line in text.splitlines() if "signed-by" in line] == ["signed-by: /new.gpg"]


def test_no_debian_archive_gives_no_source() -> None:
    assert derive([Source(("http://x.test",), ("nodistro",), ("main",))], ["sid"]) == []


@pytest.mark.parametrize(
    ("series", "names", "expected"),
    [
        (
            "6.1",
            ["linux-image-6.1.0-9-cloud-amd64", "linux-image-6.1.0-50-cloud-amd64"],
            PackageSet(
                "6.1.0-50-cloud-amd64", ("linux-image-6.1.0-50-cloud-amd64",), has_modules=True
            ),
        ),
        (
            "7.2",
            [
                "linux-image-7.2.6+deb13-cloud-amd64",
                "linux-binary-7.2.6+deb13-cloud-amd64",
                "linux-modules-7.2.6+deb13-cloud-amd64",
                "linux-image-7.2.7+deb13-cloud-amd64",
                "linux-binary-7.2.7+deb13-cloud-amd64",
                "linux-image-7.2.8+deb13-rt-amd64",
            ],
            PackageSet(
                "7.2.6+deb13-cloud-amd64",
                ("linux-binary-7.2.6+deb13-cloud-amd64", "linux-modules-7.2.6+deb13-cloud-amd64"),
                has_modules=True,
            ),
        ),
        (
            "6.19",
            ["linux-image-6.19.6+deb13-cloud-amd64", "linux-binary-6.19.6+deb13-cloud-amd64"],
            PackageSet(
                "6.19.6+deb13-cloud-amd64",
                ("linux-binary-6.19.6+deb13-cloud-amd64",),
                has_modules=False,
            ),
        ),
        ("6.1", ["linux-image-6.12.1+deb13-cloud-amd64"], None),
    ],
)
def test_the_newest_complete_release_is_chosen(
    series: str, names: list[str], expected: PackageSet | None
) -> None:
    assert choose(series, names) == expected


def test_modules_load_after_what_they_need_and_once() -> None:
    text = "a/virtiofs.ko.xz: a/fuse.ko.xz b/ring.ko.xz\na/fuse.ko.xz:\nb/ring.ko.xz:\n"
    assert load_order(text, ["fuse", "virtiofs", "built_in"]) == [
        "a/fuse.ko.xz",
        "b/ring.ko.xz",
        "a/virtiofs.ko.xz",
    ]


def test_cpio_unpacks_what_was_written(tmp_path: Path) -> None:
    archive = write_newc(
        [Entry("bin", 0o040755), Entry("bin/x", 0o100755, b"hello"), Entry("empty", 0o100644)]
    )
    subprocess.run(
        ["/bin/busybox", "cpio", "-i"], input=archive, cwd=tmp_path, check=True, capture_output=True
    )
    assert (tmp_path / "bin/x").read_bytes() == b"hello"
    assert (tmp_path / "bin/x").stat().st_mode == 0o100755
    assert (tmp_path / "empty").read_bytes() == b""


def test_memory_and_cpus_are_dealt_out_to_the_nodes() -> None:
    boot = QemuBoot(Path("k"), Path("i"), [("rootfs", Path("s"))], [], Path("c"))
    words = command(Machine(memory_mib=1025, cpus=3, numa_nodes=2), boot)
    nodes = [words[at + 1] for at, word in enumerate(words) if word == "-numa"]
    sizes = [word for word in words if word.startswith("memory-backend")]
    assert nodes == ["node,nodeid=0,memdev=mem0,cpus=0,cpus=1", "node,nodeid=1,memdev=mem1,cpus=2"]
    assert [size.split("size=")[1] for size in sizes] == ["512M,share=on", "513M,share=on"]


def test_virtual_time_has_one_cpu() -> None:
    boot = QemuBoot(Path("k"), Path("i"), [], [], None)
    words = command(Machine(cpus=2, virtual_time=True), boot)
    assert words[words.index("-smp") + 1] == "1"
    assert "-icount" in words


def test_the_job_script_keeps_words_apart_and_its_status_is_the_commands(tmp_path: Path) -> None:
    kernel = Kernel("6.12", "6.12.1", Path("vmlinuz"), None)
    job = Job(
        ["sh", "-c", 'echo "$0 $A"; exit 5', "it's"], cwd=tmp_path, env={"A": "b  c"}, modules=()
    )
    script = job_script(kernel, job).replace("/run/damos-lab", str(tmp_path))
    subprocess.run(["/bin/sh", "-c", script], check=True)
    assert (tmp_path / "stdout").read_text() == "it's b  c\n"
    assert (tmp_path / "status").read_text() == "5\n"


def _line(nodeid: str, when: str, outcome: str = "", message: str = "") -> str:
    record = {"nodeid": nodeid, "when": when, "outcome": outcome, "message": message, "seconds": 1}
    return json.dumps(record) + "\n"


def test_reports_fold_to_one_outcome_each() -> None:
    text = (
        _line("a", "start")
        + _line("a", "setup", "passed")
        + _line("a", "call", "passed")
        + _line("a", "teardown", "failed", "boom")
        + _line("b", "start")
        + _line("b", "setup", "skipped", "why")
        + _line("b", "teardown", "passed")
        + _line("c", "start")
        + _line("c", "setup", "passed")
        + '{"nodeid": "c", "wh'
    )
    outcomes = {nodeid: one.outcome for nodeid, one in parse_report(text).items()}
    assert outcomes == {"a": "failed", "b": "skipped", "c": "running"}
    assert parse_report(text)["a"].message == "teardown: boom"
    assert parse_report(text)["a"].seconds == pytest.approx(3.0)


def test_equal_machines_share_a_boot() -> None:
    assert Boot("7.3", Machine()) == Boot("7.3", Machine(memory_mib=2048))
    assert Boot("7.3", Machine()) != Boot("7.3", Machine(numa_nodes=2))
    assert Boot("7.3", Machine()) != Boot("7.3", Machine(), apart="sorting")


def test_a_boot_is_named_by_what_tells_it_apart() -> None:
    assert str(Boot("7.3", Machine())) == "7.3, 2048 MiB"
    lone = Boot("6.12", Machine(numa_nodes=2, virtual_time=True), "tiering")
    assert str(lone) == "6.12 tiering, 2048 MiB, 2 nodes, virtual time"
