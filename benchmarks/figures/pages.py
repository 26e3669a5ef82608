"""Generated text in the pages, between `<!-- figures: NAME -->` and `<!-- /figures -->`."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.figures import default_run, tutorial
from benchmarks.figures.results import Results
from seedbed.formats.tables import write_text
from seedbed.runtime.errors import UserError

# The blocks of each page, and what makes their text.
PAGES: Mapping[str, Mapping[str, Callable[[Results], str]]] = {
    "README.md": {"default-run": default_run.summary},
    "docs/method-notes.md": {"every-step": default_run.every_step},
    "docs/cluster.md": {"rules": default_run.rule_table},
    "docs/tutorial.md": {
        "train-scenes": tutorial.train_scenes,
        "run": tutorial.origin,
        "cam": tutorial.cam,
        "control": tutorial.control,
        "seeds": tutorial.seeds,
        "pseudo-labels": tutorial.pseudo_labels,
        "growing": tutorial.growing,
        "targets": tutorial.targets,
        "rounds": tutorial.rounds,
        "final-score": tutorial.final_score,
        "val-scenes": tutorial.val_scenes,
    },
}
BLOCK = re.compile(
    r"(?P<begin><!-- figures: (?P<name>[\w-]+) -->\n).*?(?P<end>^<!-- /figures -->$)",
    re.DOTALL | re.MULTILINE,
)


def write_pages(root: Path, results: Results) -> None:
    """Write the blocks of all pages; none is written unless all can be made."""
    texts = {}
    for page, makers in PAGES.items():
        blocks = {name: make(results) for name, make in makers.items()}
        texts[root / page] = filled((root / page).read_text(encoding="utf-8"), blocks, page)
    for path, text in texts.items():
        write_text(path, text)


def filled(text: str, blocks: Mapping[str, str], page: str) -> str:
    """A page with new text between its markers; UserError unless it has just these blocks."""
    names = [match["name"] for match in BLOCK.finditer(text)]
    markers = len(re.findall("<!-- /?figures", text))
    if sorted(names) != sorted(blocks) or markers != 2 * len(names):
        raise UserError(
            f"{page} has the blocks {', '.join(names) or 'none'} and should have "
            f"{', '.join(blocks)}, each once: correct its markers <!-- figures: NAME -->"
        )
    return BLOCK.sub(lambda m: f"{m['begin']}{blocks[m['name']]}\n{m['end']}", text)
