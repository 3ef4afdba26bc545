"""The fixture server's tools, under the names that the conformance suite calls."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from mcp.server.subscriptions import InMemorySubscriptionBus
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import PromptsListChanged, ToolsListChanged
from mcp_types import INVALID_PARAMS

from .call import Call, elicitation, roots, sampling
from .content import EVERY_KEYWORD, Block, audio, embedded, image, text

Run = Callable[[Call], Awaitable[list[Block]]]

PAUSE = 0.05

# Where modern clients that listen hear what has changed.
BUS = InMemorySubscriptionBus()


class Tool(NamedTuple):
    description: str
    schema: dict[str, Any]
    run: Run


class ToolFailed(Exception):
    """Told to the client in the result, with isError."""


TOOLS: dict[str, Tool] = {}


def tool(description: str, schema: dict[str, Any] | None = None, **properties: Any) -> Callable[[Run], Run]:
    """Offer the function as a tool of its name. All ``properties`` are required."""
    if schema is None:
        schema = {"type": "object", "properties": properties}
        if properties:
            schema["required"] = list(properties)

    def register(run: Run) -> Run:
        TOOLS[run.__name__] = Tool(description, schema, run)
        return run

    return register


def listed_tools() -> list[dict[str, Any]]:
    return [{"name": name, "description": tool.description, "inputSchema": tool.schema} for name, tool in TOOLS.items()]


async def run(name: str, call: Call) -> dict[str, Any]:
    if name not in TOOLS:
        raise MCPError(INVALID_PARAMS, f"Unknown tool: {name}")
    try:
        return {"content": await TOOLS[name].run(call)}
    except ToolFailed as error:
        return {"content": [text(str(error))], "isError": True}


# Kinds of content.


@tool("Answers with a text.")
async def test_simple_text(call: Call) -> list[Block]:
    return [text("This is a simple text response for testing.")]


@tool("Answers with an image.")
async def test_image_content(call: Call) -> list[Block]:
    return [image()]


@tool("Answers with a sound.")
async def test_audio_content(call: Call) -> list[Block]:
    return [audio()]


@tool("Answers with a resource.")
async def test_embedded_resource(call: Call) -> list[Block]:
    return [embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")]


@tool("Answers with a text, an image and a resource.")
async def test_multiple_content_types(call: Call) -> list[Block]:
    data = json.dumps({"test": "data", "value": 123})
    resource = embedded("test://mixed-content-resource", "application/json", data)
    return [text("Multiple content types test:"), image(), resource]


@tool("Fails.")
async def test_error_handling(call: Call) -> list[Block]:
    raise ToolFailed("This tool intentionally returns an error for testing")


# What happens meanwhile.


@tool("Reports its progress, from 0 to 100.")
async def test_tool_with_progress(call: Call) -> list[Block]:
    for value in (0, 50, 100):
        await call.progress(value, 100)
        await asyncio.sleep(PAUSE)
    return [text("Done, step by step.")]


@tool("Writes three lines of log.")
async def test_tool_with_logging(call: Call) -> list[Block]:
    for message in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await call.log(message)
        await asyncio.sleep(PAUSE)
    return [text("Three lines were logged.")]


@tool("Writes a line of log, if the client wants to have it.")
async def test_logging_tool(call: Call) -> list[Block]:
    await call.log("A line of log")
    return [text("A line was logged, for those who want it.")]


@tool("Closes the stream before it answers: the client comes back for the rest.")
async def test_reconnection(call: Call) -> list[Block]:
    await call.log("The answer comes later")  # Now it is a stream, whoever is in between.
    if call.context.close_sse_stream is not None:
        await call.context.close_sse_stream()
    await asyncio.sleep(2 * PAUSE)
    return [text("Answered after the stream was closed.")]


@tool("Says that the list of tools has changed.")
async def test_trigger_tool_change(call: Call) -> list[Block]:
    await BUS.publish(ToolsListChanged())
    if not call.is_modern:
        await call.context.session.send_tool_list_changed()
    return [text("The list of tools has changed.")]


@tool("Says that the list of prompts has changed.")
async def test_trigger_prompt_change(call: Call) -> list[Block]:
    await BUS.publish(PromptsListChanged())
    if not call.is_modern:
        await call.context.session.send_prompt_list_changed()
    return [text("The list of prompts has changed.")]


# What the client is asked.


@tool("Lets the client's model answer.", prompt={"type": "string", "description": "What to ask the model."})
async def test_sampling(call: Call) -> list[Block]:
    answers = await call.ask({"answer": sampling(call.arguments.get("prompt", ""))})
    return [text(f"LLM response: {answers['answer']['content']['text']}")]


@tool("Asks the person.", message={"type": "string", "description": "What the person reads."})
async def test_elicitation(call: Call) -> list[Block]:
    question = elicitation(
        call.arguments.get("message", ""),
        username={"type": "string", "description": "User's response"},
        email={"type": "string", "description": "User's email address"},
    )
    answer = (await call.ask({"answer": question}))["answer"]
    content = json.dumps(answer.get("content"))
    return [text(f"User response: action={answer['action']}, content={content}")]


async def _completed(call: Call, properties: dict[str, Any]) -> list[Block]:
    question = elicitation("Please look through this.", **properties)
    question["params"]["requestedSchema"]["required"] = []
    answer = (await call.ask({"answer": question}))["answer"]
    content = json.dumps(answer.get("content"))
    return [text(f"Elicitation completed: action={answer['action']}, content={content}")]


@tool("Asks the person, with defaults of every primitive type.")
async def test_elicitation_sep1034_defaults(call: Call) -> list[Block]:
    properties = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    return await _completed(call, properties)


def _titled(noun: str) -> list[dict[str, str]]:
    numbers = enumerate(("First", "Second", "Third"), 1)
    return [{"const": f"value{number}", "title": f"{ordinal} {noun}"} for number, ordinal in numbers]


@tool("Asks the person, with every kind of choice.")
async def test_elicitation_sep1330_enums(call: Call) -> list[Block]:
    options = ["option1", "option2", "option3"]
    properties = {
        "untitledSingle": {"type": "string", "enum": options},
        "titledSingle": {"type": "string", "oneOf": _titled("Option")},
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
        "titledMulti": {"type": "array", "items": {"anyOf": _titled("Choice")}},
    }
    return await _completed(call, properties)


@tool("Asks the person: never by a request of its own on a modern stream.")
async def test_streaming_elicitation(call: Call) -> list[Block]:
    answers = await call.ask({"answer": elicitation("How are you?", mood={"type": "string"})})
    return [text(json.dumps(answers["answer"]))]


@tool("Needs a client that can sample.")
async def test_missing_capability(call: Call) -> list[Block]:
    call.need("sampling")
    return [text("The client can sample.")]


# The rounds of a modern request.

WHO = elicitation("What is your name?", name={"type": "string"})


@tool("Asks for a name.")
async def test_input_required_result_elicitation(call: Call) -> list[Block]:
    answer = (await call.ask({"user_name": WHO}))["user_name"]
    return [text(f"Hello, {answer.get('content', {}).get('name', 'stranger')}!")]


@tool("Asks the client's model for a capital.")
async def test_input_required_result_sampling(call: Call) -> list[Block]:
    answers = await call.ask({"capital_question": sampling("What is the capital of France?")})
    return [text(answers["capital_question"]["content"]["text"])]


@tool("Asks for the client's roots.")
async def test_input_required_result_list_roots(call: Call) -> list[Block]:
    answers = await call.ask({"client_roots": roots()})
    return [text(f"Roots: {json.dumps(answers['client_roots']['roots'])}")]


@tool("Asks to confirm, and gives the client a state to bring back.")
async def test_input_required_result_request_state(call: Call) -> list[Block]:
    await call.ask({"confirm": elicitation("Please confirm", ok={"type": "boolean"})}, state="asked to confirm")
    return [text("state-ok")]


@tool("Gives the client a state that it cannot change unnoticed.")
async def test_input_required_result_tampered_state(call: Call) -> list[Block]:
    await call.ask({"confirm": elicitation("Please confirm", ok={"type": "boolean"})}, state="sealed")
    return [text("The state is the one that was given.")]


@tool("Asks for three things at once.")
async def test_input_required_result_multiple_inputs(call: Call) -> list[Block]:
    requests = {"user_name": WHO, "greeting": sampling("Generate a greeting", 50), "client_roots": roots()}
    return [text(json.dumps(await call.ask(requests, state="asked for three")))]


@tool("Asks twice.")
async def test_input_required_result_multi_round(call: Call) -> list[Block]:
    name = call.state
    if not (call.is_modern and "step2" in call.responses):
        first = elicitation("Step 1: What is your name?", name={"type": "string"})
        answer = (await call.ask({"step1": first}, state="step 1"))["step1"]
        call.state = name = answer.get("content", {}).get("name", "stranger")
    second = elicitation("Step 2: What is your favorite color?", color={"type": "string"})
    answer = (await call.ask({"step2": second}, state=name))["step2"]
    return [text(f"{name} likes {answer.get('content', {}).get('color', 'nothing')}.")]


@tool("Asks for what the client can give.")
async def test_input_required_result_capabilities(call: Call) -> list[Block]:
    requests = {"elicitation": WHO, "sampling": sampling("Generate a greeting"), "roots": roots()}
    answers = await call.ask({key: request for key, request in requests.items() if call.can(key)})
    return [text(json.dumps(answers))]


# Schemas that are passed on as they are.


@tool(
    "Has a parameter that is repeated in a header.",
    region={"type": "string", "description": "Where.", "x-mcp-header": "Region"},
)
async def test_x_mcp_header(call: Call) -> list[Block]:
    return [text(f"Region: {call.arguments.get('region')}")]


@tool("Has every keyword of JSON Schema 2020-12 that might get lost.", schema=EVERY_KEYWORD)
async def json_schema_2020_12_tool(call: Call) -> list[Block]:
    return [text(json.dumps(call.arguments))]
