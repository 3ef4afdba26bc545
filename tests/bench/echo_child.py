"""``echo`` over stdio."""

import sys

import msgspec
from echo import answer

decode, encode = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode

for line in sys.stdin.buffer:
    message = decode(line)
    if "id" in message:
        sys.stdout.buffer.write(encode(answer(message)) + b"\n")
        sys.stdout.buffer.flush()
