"""The process that atheris fuzzes in: `python -m tests.fuzz.atheris_loop NAME FOLDER [option …]`.

FOLDER is where the reader works; options and folders of inputs are libFuzzer's.
"""

import sys
from pathlib import Path

import atheris

# What reads in Python is measured; what reads in C is only run. These are imported before NumPy
# and torch do it, so that they are among what is measured.
EARLY = ("pickle", "zipfile", "gzip")
LIBRARIES = ("PIL", "safetensors", "scipy.io.matlab", "numpy.lib._format_impl")
with atheris.instrument_imports(include=["seedbed", *EARLY, *LIBRARIES]):
    for loaded in EARLY:
        sys.modules.pop(loaded, None)
    from tests.fuzz.guard import enter
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Fuzz, or run the files named."""
    _, name, folder, *options = sys.argv
    inputs = [option for option in options if Path(option).is_dir()]
    target = TARGETS[name]
    for place in inputs[:1]:
        for number, seed in enumerate(target.seeds()):
            (Path(place) / f"seed-{number}").write_bytes(seed)
        corpus = Path(__file__).parents[1] / "corpus" / name
        for path in sorted(corpus.glob("*")):
            (Path(place) / path.name).write_bytes(path.read_bytes())
    enter(Path(folder))
    atheris.Setup([sys.argv[0], *options], target.read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
