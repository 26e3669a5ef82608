"""docs/errors.md: each row happens as it says, and each case here has a row."""

import re
from typing import NamedTuple

import pytest

from tests.bad_input import by_hand, config, devkit, given, images, masks, names, own_data, photos
from tests.bad_input.case import CASES, Bad
from tests.support.workflow_helpers import CONFIG, ROOT, copy_project

# Cases are entered as these modules are imported.
MODULES = (by_hand, config, devkit, given, images, masks, names, own_data, photos)


class Row(NamedTuple):
    """What is wrong, what happens, and when."""

    wrong: str
    happens: str
    when: str


def rows() -> list[Row]:
    text = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    cells = [Row(*map(str.strip, line.strip("|").split("|"))) for line in text.splitlines()
             if line.startswith("| ")]  # fmt: skip
    return [row for row in cells if row.wrong != "what is wrong"]


ROWS = rows()


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """The project's code with a small config, copied when it is first asked for."""
    made = []

    def copy():
        if not made:
            made.append(copy_project(tmp_path_factory.mktemp("dry"), CONFIG))
        return made[0]

    return copy


def test_every_row_has_a_case_and_every_case_a_row():
    wrong = [row.wrong for row in ROWS]
    assert len(set(wrong)) == len(wrong)
    assert set(wrong) == set(CASES)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.wrong)
def test_a_row_happens_as_it_says(row, tmp_path, project):
    bad = Bad(tmp_path, project)
    line = CASES[row.wrong](bad)
    assert bad.when == {row.when.removeprefix("stage ")}
    if line is None:
        assert row.happens.startswith("read")
        return
    message = re.fullmatch("`(.*)`", row.happens)
    assert message, f"no line in backticks: {line}"
    parts = map(re.escape, message[1].split("…"))
    assert re.fullmatch(".*?".join(parts), line), f"\n  says {message[1]}\nprints {line}"
