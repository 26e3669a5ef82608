"""Fonts that have the characters of a figure's texts."""

import unicodedata
from collections.abc import Iterable

from matplotlib.font_manager import FontEntry, fontManager, get_font

PLACEHOLDERS = "Last Resort"  # matplotlib's, in which a character is a box with its block's name
DEFAULT = "DejaVu Sans"  # comes with matplotlib: Latin, Greek, Cyrillic, Arabic, Hebrew and more


def families_for(texts: Iterable[str]) -> tuple[list[str], set[str]]:
    """The fewest font families here that have the characters of the texts, the default font first.

    Returns:
        Their names, of which a text uses for each character the first that has it; and the
        characters that no font here has.

    """
    missing = {c for text in texts for c in text if not c.isspace() and _is_drawn(c)}
    families = [DEFAULT]
    missing -= _characters(fontManager.findfont(DEFAULT))
    if not missing:
        return families, missing
    fonts = {font.name: missing & _characters(font.fname) for font in _upright_fonts()}
    while missing:
        # of equal ones the first in the alphabet, so that the same fonts give the same picture
        name = max(sorted(fonts), key=lambda name: len(fonts[name] & missing), default=DEFAULT)
        if not fonts.get(name, set()) & missing:
            break
        families.append(name)
        missing = missing - fonts[name]
    return families, missing


def _is_drawn(character: str) -> bool:
    return unicodedata.category(character) not in ("Cc", "Cf")


def _upright_fonts() -> list[FontEntry]:
    """The fonts that matplotlib takes for their family, one of each."""
    regular = [
        font
        for font in fontManager.ttflist
        if font.style == "normal" and not font.name.startswith(PLACEHOLDERS)
    ]
    return sorted(regular, key=lambda font: -abs(int(font.weight) - 400))  # the last one counts


def _characters(path: str) -> set[str]:
    """The characters that a font file has; none if it cannot be drawn with."""
    try:
        font = get_font(path)
        return {chr(code) for code in font.get_charmap()} if font.scalable else set()
    except (OSError, RuntimeError, ValueError):
        return set()
