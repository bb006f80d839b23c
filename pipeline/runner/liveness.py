"""Which process wrote a lock or a temporary file, and whether it still runs; the ground under resume after a kill."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
from functools import cache
from pathlib import Path

__all__ = ["host_tag", "is_alive", "process_start"]


@cache
def host_tag() -> str:
    """Eight hexadecimal characters for this host and process number space (containers of one host differ)."""
    namespace = Path("/proc/self/ns/pid")
    space = str(namespace.stat().st_ino) if namespace.exists() else ""
    return hashlib.sha256(f"{socket.gethostname()}/{space}".encode()).hexdigest()[:8]


def process_start(pid: int) -> str:
    """When a process of this host started, as an opaque text; empty where the system does not tell (not Linux).

    A process number is used again after a reboot, and always in a container, so that the number alone would keep the
    lock of a dead run for ever.
    """
    status = _linux_status(pid)
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{boot.read_text().strip()}/{status[19]}" if status and boot.exists() else ""


def is_alive(pid: int) -> bool:
    """Whether a process of this host runs; a dead child that nobody has waited for does not."""
    if sys.platform == "win32":
        return _is_alive_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    status = _linux_status(pid)
    return not status or status[0] not in "ZX"


def _linux_status(pid: int) -> list[str]:
    """Fields of /proc/<pid>/stat from the state on; the name before them may hold blanks and brackets."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _is_alive_windows(pid: int) -> bool:
    # os.kill(pid, 0) would end the process there.
    import ctypes  # noqa: PLC0415

    query, still_active = 0x1000, 259
    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined,unused-ignore]
    handle = kernel.OpenProcess(query, False, pid)
    if not handle:
        return False
    code = ctypes.c_ulong()
    kernel.GetExitCodeProcess(handle, ctypes.byref(code))
    kernel.CloseHandle(handle)
    return code.value == still_active
