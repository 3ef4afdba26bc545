"""``echo`` over stdio."""

import json
import sys

from echo import answer

for line in sys.stdin.buffer:
    message = json.loads(line)
    if "id" in message:
        sys.stdout.buffer.write(json.dumps(answer(message)).encode() + b"\n")
        sys.stdout.buffer.flush()
