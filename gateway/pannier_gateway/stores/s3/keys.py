"""Under which key an object lies: its path, or the path escaped where an engine would rewrite it.

Engines that keep objects in files confuse `a//b`, `d/../e` and `dir/` with other keys, and refuse a
key beside a folder of its name. The escaping is one pass over the path, so it keeps prefixes, and
it keeps the order of UTF-8 bytes: listings need no sorting and no second look. Where a segment
begins, `-` stands before `-`, `.` and `/`. An end is marked `!` where the path would end with `/`,
and in the layout `marked` always, so that no object has the name of a folder; where a mark may
stand, control characters, space and `!` are told from it as `!` and a letter. What XML can't hold,
U+FFFE and U+FFFF, becomes U+FFFD and a digit. A segment of 200 bytes goes on in a folder that ends
with `!`.
"""

import re
from typing import Literal

Layout = Literal["plain", "escaped", "marked"]

LONGEST_SEGMENT = 200  # bytes before it is cut; the longest name in a file system is 255
CUT = "!/"
END = "!"
GUARDED = "-./"  # at the beginning of a segment
REPLACEMENT = "\ufffd"
REPLACED = "\ufffd\ufffe\uffff"

_ORDINARY = r"[^\x00-!\-./\U00000080-\U0010ffff][^\x00-!/\U00000080-\U0010ffff]{0,150}"
_UNTOUCHED = re.compile(rf"{_ORDINARY}(?:/{_ORDINARY})*")


def stored(path: str, layout: Layout) -> str:
    """The key of the object at `path`."""
    if layout == "plain":
        return path
    if _UNTOUCHED.fullmatch(path):
        return path + END if layout == "marked" else path
    key, at_start = _escaped(path, marked=layout == "marked")
    return key + END if at_start or layout == "marked" else key


def stored_prefix(prefix: str, layout: Layout) -> str:
    """What exactly the keys of the paths with `prefix` begin with."""
    return prefix if layout == "plain" else _escaped(prefix, marked=layout == "marked")[0]


def path_of(key: str, layout: Layout) -> str | None:
    """The path whose key this is; None for a key that no path has."""
    if not is_text(key):
        return None
    if layout == "plain":
        return key
    path = _unescaped(key, marked=layout == "marked")
    return path if path is not None and stored(path, layout) == key else None


def is_text(key: str) -> bool:
    """Whether UTF-8 can write it: of what is something else, surrogates hold the bytes."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


def _escaped(text: str, *, marked: bool) -> tuple[str, bool]:
    """The codes of `text`, and whether a segment would begin after them."""
    codes: list[str] = []
    size, at_start = 0, True
    for letter in text:
        code = _code(letter, at_start=at_start, marked=marked)
        codes.append(code)
        at_start = letter == "/"
        size = 0 if at_start else size + len(code.encode(errors="surrogatepass"))
        if size >= LONGEST_SEGMENT:
            codes.append(CUT)
            size, at_start = 0, True
    return "".join(codes), at_start


def _code(letter: str, *, at_start: bool, marked: bool) -> str:
    if at_start and letter in GUARDED:
        return f"-{letter}"
    if letter <= END and (at_start or marked):
        return END + chr(ord(letter) + 0x40)
    if letter in REPLACED:
        return f"{REPLACEMENT}{REPLACED.index(letter)}"
    return letter


def _unescaped(key: str, *, marked: bool) -> str | None:
    letters: list[str] = []
    size, at, at_start = 0, 0, True
    while at < len(key):
        if size >= LONGEST_SEGMENT:
            size, at, at_start = 0, at + len(CUT), True
            continue
        code = key[at : at + _length(key[at], at_start=at_start, marked=marked)]
        if code == END and (at_start or marked):
            break
        letter = _letter(code)
        if letter is None:
            return None
        letters.append(letter)
        at += len(code)
        at_start = letter == "/"
        size = 0 if at_start else size + len(code.encode(errors="surrogatepass"))
    return "".join(letters)


def _length(letter: str, *, at_start: bool, marked: bool) -> int:
    """Of the code that begins with this."""
    guarded = letter == "-" and at_start
    low = letter == END and (at_start or marked)
    return 2 if guarded or low or letter == REPLACEMENT else 1


def _letter(code: str) -> str | None:
    """What a code stands for; None where it is the code of nothing."""
    match code[0], code[1:]:
        case _, "":
            return code
        case "-", letter if letter in GUARDED:
            return letter
        case "!", letter if "@" <= letter <= "a":
            return chr(ord(letter) - 0x40)
        case "\ufffd", digit if digit in "012":
            return REPLACED[int(digit)]
    return None
