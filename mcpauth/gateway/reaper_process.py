"""The reaper: started by reaper.py as a program of its own, and so small that it can stay all the time."""

import os
import select
import signal

GRACE = 2.0


def main() -> None:
    """Read which process groups there are until the gateway is gone; what is left then ends."""
    groups: set[int] = set()
    with open(0, "rb", buffering=0) as pipe:
        partial = b""
        while chunk := pipe.read(4096):
            *lines, partial = (partial + chunk).split(b"\n")
            for line in lines:
                (groups.add if line[:1] == b"+" else groups.discard)(int(line[1:]))
    left = [group for group in groups if signalled(group, signal.SIGTERM)]
    if left:
        select.select([], [], [], GRACE)
        for group in left:
            signalled(group, signal.SIGKILL)


def signalled(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
