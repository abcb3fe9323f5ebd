"""What the machine is that a benchmark ran on."""

import os
import platform
from pathlib import Path


def machine():
    """Processor, cores and load in words, such as `AMD EPYC, 2 cores, load 0.4`."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass  # not Linux
    return f"{name}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
