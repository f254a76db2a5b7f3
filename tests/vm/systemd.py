# SPDX-License-Identifier: Apache-2.0
"""The host's own systemd as a guest's process 1, with the lab's job as its one service."""

UNIT = "damos-lab.service"

# Nothing of the host's start-up that needs devices, or would change what the lab has set up.
_MASKED = (
    "dbus.service",
    "dbus.socket",
    "ldconfig.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-modules-load.service",
    "systemd-random-seed.service",
    "systemd-sysctl.service",
    "systemd-sysusers.service",
    "systemd-timesyncd.service",
    "systemd-tmpfiles-setup-dev.service",
    "systemd-tmpfiles-setup.service",
    "systemd-udev-trigger.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udevd.service",
    "systemd-update-utmp.service",
    "systemd-update-done.service",
)


def first_script(job_script: str) -> str:
    """The shell script of process 1: become systemd, which runs `job_script` and powers off."""
    masks = " ".join(_MASKED)
    return f"""\
: >/etc/fstab
mkdir -p /run/systemd/system
for unit in {masks}; do
    ln -sf /dev/null "/etc/systemd/system/$unit"
done
cat >/run/systemd/system/{UNIT} <<'END'
[Unit]
Description=Job of the lab
Requires=sysinit.target
After=sysinit.target
SuccessAction=poweroff-force
FailureAction=poweroff-force

[Service]
Type=oneshot
ExecStart=/bin/sh {job_script}
TimeoutStartSec=infinity
KillMode=mixed
END
exec /lib/systemd/systemd --unit={UNIT} --show-status=false
"""
