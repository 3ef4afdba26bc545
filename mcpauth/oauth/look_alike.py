"""Names that a person would take for another name."""

import re
import unicodedata

# Letters that look alike, in one font or another; "i" and "1" like "l", "0" like "o".
ALIKE = str.maketrans("аɑαсϲԁеєɡһіιјӏοоσрρԛѕυνѵԝхуγi1|0$@", "aaaccdeeghlljlooopPqsuvvwxyylllosa".lower())
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
    runs = {"".join(words[begin:end]) for begin in range(len(words)) for end in range(begin + 1, len(words) + 1)}
    return wanted in runs or (len(wanted) >= LONG and wanted in "".join(words))
