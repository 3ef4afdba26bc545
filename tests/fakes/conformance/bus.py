"""Where the fixture server says what has changed, and its subscribers hear it."""

from mcp.server.subscriptions import InMemorySubscriptionBus

BUS = InMemorySubscriptionBus()
