"""The environment that a page is made in: versions and device.

It is that of the job that writes the page. Trainings may have run on another device, with other
versions: neither is recorded.
"""

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

PACKAGES = (
    *("seedbed", "snakemake", "torch", "numpy", "scipy", "scikit-image", "h5py", "pillow"),
    *("pydensecrf2", "matplotlib", "jinja2"),
)


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages among `PACKAGES`."""
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return installed


def device_name(device: torch.device) -> str:
    """The GPU's name, or the number of usable CPUs and their model."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(errors="replace") if cpuinfo.exists() else ""
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    name = match[1] if match else platform.machine()
    return f"{len(os.sched_getaffinity(0))} × {name}"
