"""XML files in any encoding that they state."""

import codecs
import re
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from seedbed.runtime.errors import UserError

DECLARED = re.compile(rb"""\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
# Encodings of several bytes a character, which Python's XML parser does not know, and the larger
# one that contains each and is what programs write under its name.
ENCODINGS = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "gb18030": "gb18030",
    "hz": "hz",
    "big5": "big5hkscs",
    "big5hkscs": "big5hkscs",
    "cp950": "cp950",
    "shift_jis": "cp932",
    "shift_jis_2004": "shift_jis_2004",
    "cp932": "cp932",
    "euc_jp": "euc_jp",
    "euc_jis_2004": "euc_jis_2004",
    "iso2022_jp": "iso2022_jp",
    "euc_kr": "cp949",
    "cp949": "cp949",
    "johab": "johab",
    "iso2022_kr": "iso2022_kr",
}


def read_xml(path: Path, what: str) -> Element:
    """The root of an XML file; entities are refused, and nothing is fetched.

    Args:
        path: the file.
        what: what it is, for messages.

    Raises:
        UserError: if the file is missing, no XML, or not in the encoding that it states.

    """
    from defusedxml import DefusedXmlException  # only data sets with XML need it

    try:
        return _parse(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{what} {path} is missing: put it there") from None
    except DefusedXmlException as error:
        reason, remedy = str(error), "write it without entities, which are not expanded"
    except UnicodeDecodeError as error:
        reason, remedy = str(error), "save it as UTF-8, or state its encoding in the first line"
    except (ParseError, ValueError, LookupError) as error:
        reason, remedy = str(error), "correct it, or get it again"
        if "invalid token" in reason and not _is_utf8(path):
            reason = f"it is not {_stated(path)}"
            remedy = "save it as UTF-8, or state its encoding in the first line"
    except OSError as error:
        reason, remedy = str(error), "make it readable"
    raise UserError(f"cannot read the {what} {path}: {reason}; {remedy}")


def _parse(content: bytes) -> Element:
    from defusedxml.ElementTree import fromstring

    if match := DECLARED.match(content):
        codec = codecs.lookup(match[1].decode("ascii")).name
        if codec in ENCODINGS:
            if _has_long_utf8(content):  # saved anew by a program that left the first line
                raise ValueError(f"it states {match[1].decode('ascii')} and is UTF-8")
            # A text's own declaration of an encoding is not looked at.
            return fromstring(content.decode(ENCODINGS[codec]))
    return fromstring(content)


def _stated(path: Path) -> str:
    match = DECLARED.match(path.read_bytes()[:200])
    return f"in the encoding that it states, {match[1].decode('ascii')}" if match else "UTF-8"


def _is_utf8(path: Path) -> bool:
    try:
        path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _has_long_utf8(content: bytes) -> bool:
    """Whether it is UTF-8 with a character of three bytes or more, which no other encoding's is."""
    try:
        return any(ord(character) > 0x7FF for character in content.decode("utf-8"))
    except UnicodeDecodeError:
        return False
