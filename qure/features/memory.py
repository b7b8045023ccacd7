"""How much memory may still be used, on the host (inside a container too) and on a device."""

from pathlib import Path

import torch

_CGROUP = Path("/sys/fs/cgroup")


def available_host_bytes() -> int:
    """Bytes that can be allocated without swapping: the kernel's estimate, or what a container's limit leaves."""
    limits = [_meminfo_available(), _cgroup_available()]
    return min((limit for limit in limits if limit is not None), default=0)


def available_device_bytes(device: torch.device) -> int:
    """Free bytes of an accelerator; 0 for a device that cannot tell."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else 0


def _meminfo_available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _cgroup_available(root: Path = _CGROUP) -> int | None:
    try:
        limit = (root / "memory.max").read_text().strip()
        used = int((root / "memory.current").read_text())
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(int(limit) - used, 0)
