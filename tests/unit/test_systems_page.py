"""docs/systems.md leads from each part of a published system to its code and its tests."""

import re

import pytest

from tests.support.workflow_helpers import ROOT

PAGE = (ROOT / "docs/systems.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if re.match(r"\| (?!part )[^-|]", line)]
PARTS = [line.split(" | ") for line in ROWS if len(line.split(" | ")) == 5]
CODE = "\n".join(path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("seedbed/**/*.py")))


def test_the_page_has_all_five_systems():
    assert len(PARTS) > 50


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part[0][2:50])
def test_a_part_has_its_code_and_its_test(part):
    _, code, _, tests, _ = part
    for name in re.findall(r"`(\w+)`", code):
        assert re.search(rf'\b(def|class) {name}\b|"{name}"', CODE), f"{name} is not in seedbed/"
    for path in re.findall(r"`([\w/]+(?:\.py|/))`", f"{code} {tests}"):
        assert any((ROOT / base / path).exists() for base in ("", "tests/unit", "seedbed")), path
