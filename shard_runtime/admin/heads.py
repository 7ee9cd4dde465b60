"""Refuses request heads that h11 would read and another program in between might read otherwise.

Where two programs disagree on where a request ends, the second one reads what a stranger wrote into a body as a request
of its own (request smuggling). h11 is lenient in what RFC 9112 allows a recipient to be lenient in: a line may end with
a bare LF, a header may go on in the next line, a length may be said twice. Nobody who speaks to a pod does so.
https://www.rfc-editor.org/rfc/rfc9112#section-11.2
"""

from __future__ import annotations

import re
from typing import Final

_END: Final = re.compile(rb"\n\r?\n")
_FLAWS: Final = (
    (re.compile(rb"(?<!\r)\n"), "a line ends without CR"),
    (re.compile(rb"\r(?=[^\n])"), "a CR stands within a line"),
    (re.compile(rb"\n[ \t]"), "a header goes on in the next line"),
    (re.compile(rb"[\0-\x08\x0b\x0c\x0e-\x1f\x7f]"), "it has a control character"),
)
_LENGTH: Final = re.compile(rb"\n(?:content-length)[ \t]*:([^\r\n]*)", re.IGNORECASE)


def flaw(received: bytes) -> str | None:
    """What is wrong with the head at the beginning of *received*, which may not be all of it yet; None: nothing."""
    end = _END.search(received)
    head = received if end is None else received[: end.end()]
    for pattern, sentence in _FLAWS:
        if pattern.search(head) is not None:
            return sentence
    lengths = _LENGTH.findall(head)
    if len(lengths) > 1 or any(b"," in length for length in lengths):
        return "it says its length more than once"
    return None
