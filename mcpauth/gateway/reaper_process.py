"""The reaper: started by reaper.py as a program of its own, and so small that it can stay all the time."""

import os
import select
import signal
from collections.abc import Callable

MARK = b"MCPAUTH_CHILD="
GRACE = 2.0
# What forks while it is being looked for is found the next time.
ROUNDS = 10


def main() -> None:
    """Read which children there are until the gateway is gone; what is left then ends, as does what one has left."""
    groups: dict[bytes, int] = {}  # by the marker of a child; 0 as long as it is only about to start
    with open(0, "rb", buffering=0) as pipe:
        partial = b""
        while chunk := pipe.read(4096):
            *lines, partial = (partial + chunk).split(b"\n")
            ended = set()
            for line in lines:
                marker, _, group = line[1:].partition(b" ")
                if line[:1] == b"+":
                    groups[marker] = int(group or 0)
                else:
                    groups.pop(marker, None)
                    ended.add(marker)
            if ended:
                kill({}, ended)
    markers = set(groups)
    if signalled(groups, markers, signal.SIGTERM):
        select.select([], [], [], GRACE)
    kill(groups, markers)


def kill(groups: dict[bytes, int], markers: set[bytes]) -> None:
    for _ in range(ROUNDS):
        if not signalled(groups, markers, signal.SIGKILL):
            break


def signalled(groups: dict[bytes, int], markers: set[bytes], number: int) -> bool:
    """Whether there was anything to be told: in the groups, or with one of the markers in its environment.

    A process can leave its group. Its environment stays, and those who have it can be found where there is /proc.
    """
    told = [group for group in groups.values() if group and sent(os.killpg, group, number)]
    told += [process for process in marked(markers) if sent(os.kill, process, number)]
    return bool(told)


def marked(markers: set[bytes]) -> list[int]:
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        try:
            with open(f"/proc/{int(name)}/environ", "rb") as file:
                environment = file.read()
        except (OSError, ValueError):
            continue
        if MARK in environment and any(
            entry[: len(MARK)] == MARK and entry[len(MARK) :] in markers for entry in environment.split(b"\0")
        ):
            found.append(int(name))
    return found


def sent(how: Callable[[int, int], None], to: int, number: int) -> bool:
    try:
        how(to, number)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
