"""The public names of the library, and the page that shows them."""

import re
import subprocess
import sys

import pytest

import seedbed
from tests.support.workflow_helpers import ROOT

PAGE = (ROOT / "docs/library.md").read_text()
PUBLIC = {
    "ConfusionMatrix",
    "DenseCRF2D",
    "DenseCRFGrid",
    "LearnedSaliency",
    "build",
    "dense_crf",
    "grow_seeds",
    "load_weights",
    "make_cues",
    "random_walk",
    "saliency",
    "saliency_guided",
}


def test_public_names():
    assert set(seedbed.__all__) == PUBLIC
    assert set(dir(seedbed)) >= PUBLIC
    assert all(
        callable(getattr(seedbed, name)) and getattr(seedbed, name).__doc__ for name in PUBLIC
    )
    with pytest.raises(AttributeError, match="'seedbed' has no attribute 'grow_sedes'"):
        seedbed.grow_sedes  # noqa: B018


def test_the_import_loads_nothing_but_itself():
    program = (
        "import sys; before = set(sys.modules); import seedbed; dir(seedbed);"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}));"
        "from seedbed import grow_seeds; assert 'torch' in sys.modules"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    loaded = set(output.split())
    assert "seedbed" in loaded
    assert not loaded & {"torch", "numpy", "scipy", "skimage", "h5py"}


def test_the_page_shows_every_name():
    assert all(f"seedbed.{name}(" in PAGE for name in PUBLIC)


def test_the_blocks_of_the_page_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for block in re.finditer(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        line = PAGE[: block.start()].count("\n") + 1
        code = compile("\n" * line + block[1], "docs/library.md", "exec")  # a traceback's lines
        exec(code, namespace)
