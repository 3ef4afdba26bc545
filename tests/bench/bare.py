"""What everything is compared with: a Tornado handler that answers a fixed JSON to the same POST."""

import asyncio
import sys

from tornado import web

ANSWER = b'{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"hello"}]}}'


class Handler(web.RequestHandler):
    def post(self) -> None:
        self.set_header("Content-Type", "application/json")
        self.finish(ANSWER)


async def main() -> None:
    web.Application([("/mcp/.*", Handler)], log_function=lambda handler: None).listen(int(sys.argv[1]), "127.0.0.1")
    print("ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
