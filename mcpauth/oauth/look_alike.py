"""Names that a person would take for another name."""

import re
import unicodedata
from itertools import accumulate

# Letters that look alike, in one font or another; "i" and "1" like "l", "0" like "o".
ALIKE = str.maketrans("аɑαсϲԁеєɡһіιјӏοоσрρԛѕυνѵԝхуγi1|0$@", "aaaccdeeghlljloooppqsuvvwxyylllosa")
# Shorter names are found as words only: they are parts of others.
LONG = 6


def skeleton(name: str) -> str:
    """What is left of ``name`` when everything is dropped that is hard to see."""
    plain = unicodedata.normalize("NFKD", name).casefold()
    return "".join(c for c in plain.translate(ALIKE) if c.isalnum())


def resembles(name: str, known: str) -> bool:
    """Whether ``name`` says ``known``, alone or beside other words."""
    wanted = skeleton(known)
    words = [skeleton(word) for word in re.split(r"[\W_]+", unicodedata.normalize("NFKD", name)) if word]
    text = "".join(words)
    if len(wanted) >= LONG:
        return wanted in text
    edges = set(accumulate(map(len, words), initial=0))
    return any(text.startswith(wanted, edge) and edge + len(wanted) in edges for edge in edges)
