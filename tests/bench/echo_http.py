"""``echo`` over streamable HTTP."""

import asyncio
import json
import sys

from echo import answer
from tornado import web


class Handler(web.RequestHandler):
    def post(self) -> None:
        message = json.loads(self.request.body)
        if "id" not in message:
            self.set_status(202)
            return
        if message["method"] == "initialize":
            self.set_header("Mcp-Session-Id", "only")
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(answer(message)))


async def main() -> None:
    web.Application([("/mcp", Handler)], log_function=lambda handler: None).listen(int(sys.argv[1]), "127.0.0.1")
    print("ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
