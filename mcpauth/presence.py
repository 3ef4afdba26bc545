"""Whether it is this process that answers at an address: it knows a word that only its owner was told."""

from .ambient import Ambient

TTL = 60
MOST = 16


class Presence:
    """Each word is good for a minute. Whoever has none learns nothing."""

    def __init__(self, ambient: Ambient) -> None:
        self._ambient = ambient
        self._words: dict[str, int] = {}  # until when each is good, the oldest in front

    def word(self) -> str:
        word = self._ambient.secret()
        while len(self._words) >= MOST:
            del self._words[next(iter(self._words))]
        self._words[word] = self._ambient.now() + TTL
        return word

    def knows(self, word: str) -> bool:
        return self._ambient.now() < self._words.get(word, 0)
