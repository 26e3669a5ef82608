"""docs/systems.md leads from each part of a published system to its code and its tests."""

import re

import pytest

from tests.support.workflow_helpers import ROOT

PAGE = (ROOT / "docs/systems.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if re.match(r"\| (?!part )[^-|]", line)]
PARTS = [line.split(" | ") for line in ROWS if len(line.split(" | ")) == 5]
CODE = "\n".join(path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("seedbed/**/*.py")))


NOT_REBUILT = PAGE.partition("## Known differences that are not reproduced\n")[2].partition(
    "\n## "
)[0]


def test_what_is_not_rebuilt_has_its_recipes_and_its_size():
    rows = re.findall(r"^\| (`.*) \| (.+) \| (.+) \| (.+) \|$", NOT_REBUILT, re.MULTILINE)
    assert len(rows) == 4
    for recipes, *_, size in rows:
        assert all((ROOT / f"recipes/{name}.yaml").exists() for name in recipes.split("`")[1::2])
        assert re.search(r"\d", size), size
    originals = " ".join(row[1] for row in rows)
    assert all(word in originals for word in ("BGR", "partners", "IoUeval", "SciPy"))


def test_the_page_has_all_five_systems():
    assert len(PARTS) > 50


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part[0][2:50])
def test_a_part_has_its_code_and_its_test(part):
    _, code, _, tests, _ = part
    for name in re.findall(r"`(\w+)`", code):
        assert re.search(rf'\b(def|class) {name}\b|"{name}"', CODE), f"{name} is not in seedbed/"
    for path in re.findall(r"`([\w/]+(?:\.py|/))`", f"{code} {tests}"):
        assert any((ROOT / base / path).exists() for base in ("", "tests/unit", "seedbed")), path
