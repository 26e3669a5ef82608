"""Computes rows one after the other and prints what they found, a line of JSON each.

`python -m benchmarks.gpu.worker DEVICE SMALL PRECISION ROW…`: the parent starts another one with
the rows that are left if a row ends the process, hangs, or leaves CUDA unusable.
"""

import json
import os
import sys
import time
import traceback

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before CUDA starts

import torch

from benchmarks.gpu.rows import Row, Setup
from benchmarks.gpu.table import rows_of

# After these CUDA errors every further call fails.
STICKY = (
    "CUDA error",
    "device-side assert",
    "illegal memory access",
    "CUBLAS_STATUS",
    "cuDNN error",
)


def compute(row: Row, setup: Setup) -> dict[str, object]:
    """What the row found, or its error; how long it took."""
    start = time.perf_counter()
    try:
        outcome = row.work(setup)
        found = {"text": outcome.text, "ok": outcome.ok, "values": outcome.values}
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{os.path.relpath(frames[-1].filename)}:{frames[-1].lineno}"
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]} ({place})"
        details = {"traceback": traceback.format_exc()[-4000:]}
        found = {"text": text, "ok": False, "failed": True, "values": details}
    return {"row": row.name, "seconds": time.perf_counter() - start, **found}


def restore(setup: Setup) -> None:
    """Undo what a row may have left behind."""
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = True
    if setup.device.type == "cuda":
        torch.cuda.set_sync_debug_mode("default")
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def main() -> None:
    """Compute the rows that the command line names."""
    device, small, precision, *names = sys.argv[1:]
    # Rows print as they like; only the lines of JSON go where the parent reads.
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    setup = Setup(torch.device(device), small == "1", precision)
    rows = {row.name: row for row in rows_of()}
    for name in names:
        print(json.dumps({"begun": name}), file=channel)
        restore(setup)
        found = compute(rows[name], setup)
        print(json.dumps(found), file=channel)
        if found.get("failed") and any(mark in str(found["text"]) for mark in STICKY):
            sys.exit("CUDA is unusable after this error")


if __name__ == "__main__":
    main()
