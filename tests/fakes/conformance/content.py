"""What the fixture server hands out: content blocks, resources, prompts, a schema."""

import base64
import json
import struct
import zlib
from typing import Any, NamedTuple

from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from .call import Call, elicitation

Block = dict[str, Any]

RESOURCE_NOT_FOUND = -32002  # before 2026-07-28


def _png() -> str:
    """One red pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixel = zlib.compress(b"\x00\xff\x00\x00")
    image = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixel) + chunk(b"IEND", b"")
    return base64.b64encode(image).decode()


def _wav() -> str:
    """Eight samples of silence."""
    samples = b"\x80" * 8
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8)
    body = b"WAVE" + form + struct.pack("<4sI", b"data", len(samples)) + samples
    return base64.b64encode(struct.pack("<4sI", b"RIFF", len(body)) + body).decode()


PNG, WAV = _png(), _wav()


def text(value: str) -> Block:
    return {"type": "text", "text": value}


def image() -> Block:
    return {"type": "image", "data": PNG, "mimeType": "image/png"}


def audio() -> Block:
    return {"type": "audio", "data": WAV, "mimeType": "audio/wav"}


def embedded(uri: str, mime_type: str, value: str) -> Block:
    return {"type": "resource", "resource": {"uri": uri, "mimeType": mime_type, "text": value}}


class Resource(NamedTuple):
    description: str
    mime_type: str
    contents: dict[str, str]


RESOURCES = {
    "test://static-text": Resource(
        "A text that never changes.", "text/plain", {"text": "This is the content of the static text resource."}
    ),
    "test://static-binary": Resource("One red pixel.", "image/png", {"blob": PNG}),
    "test://watched-resource": Resource("For those who subscribe.", "text/plain", {"text": "Watch me."}),
}

TEMPLATES = [
    {
        "uriTemplate": "test://template/{id}/data",
        "name": "template",
        "description": "Data about whatever id is asked for.",
        "mimeType": "application/json",
    }
]


def listed_resources() -> list[dict[str, str]]:
    return [
        {
            "uri": uri,
            "name": uri.removeprefix("test://"),
            "description": resource.description,
            "mimeType": resource.mime_type,
        }
        for uri, resource in RESOURCES.items()
    ]


def read(uri: str, protocol_version: str) -> dict[str, str]:
    """The contents of a resource. Raises the error of the revision for what is not there."""
    if resource := RESOURCES.get(uri):
        return {"uri": uri, "mimeType": resource.mime_type, **resource.contents}
    before, _, rest = uri.partition("test://template/")
    wanted, slash, end = rest.partition("/")
    if before == "" and wanted and slash + end == "/data":
        data = {"id": wanted, "templateTest": True, "data": f"Data for ID: {wanted}"}
        return {"uri": uri, "mimeType": "application/json", "text": json.dumps(data)}
    code = INVALID_PARAMS if protocol_version in MODERN_PROTOCOL_VERSIONS else RESOURCE_NOT_FOUND
    raise MCPError(code, "Resource not found", {"uri": uri})


# Each with the descriptions of its arguments; all of them are required.
PROMPTS = {
    "test_simple_prompt": ("A prompt without arguments.", {}),
    "test_prompt_with_arguments": ("A prompt with two.", {"arg1": "The first argument.", "arg2": "The second."}),
    "test_prompt_with_embedded_resource": ("A prompt with a resource.", {"resourceUri": "The resource to embed."}),
    "test_prompt_with_image": ("A prompt with an image.", {}),
    "test_input_required_result_prompt": ("A prompt that asks back.", {}),
}


def listed_prompts() -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "description": description,
            "arguments": [{"name": key, "description": about, "required": True} for key, about in arguments.items()],
        }
        for name, (description, arguments) in PROMPTS.items()
    ]


async def prompt(name: str, call: Call) -> list[Block]:
    """The content of each message."""
    given = call.arguments
    match name:
        case "test_simple_prompt":
            return [text("This is a simple prompt for testing.")]
        case "test_prompt_with_arguments":
            return [text(f"Prompt with arguments: arg1='{given.get('arg1')}', arg2='{given.get('arg2')}'")]
        case "test_prompt_with_embedded_resource":
            resource = embedded(given.get("resourceUri", ""), "text/plain", "Embedded resource content for testing.")
            return [resource, text("Please process the embedded resource above.")]
        case "test_prompt_with_image":
            return [image(), text("Please analyze the image above.")]
        case "test_input_required_result_prompt":
            question = elicitation("What context should the prompt use?", context={"type": "string"})
            answers = await call.ask({"user_context": question})
            return [text(f"In the context of {answers['user_context']['content']['context']}.")]
    raise MCPError(INVALID_PARAMS, f"Unknown prompt: {name}")


# Of JSON Schema 2020-12: what must not get lost on the way.
EVERY_KEYWORD = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
