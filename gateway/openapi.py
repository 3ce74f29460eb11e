"""The OpenAPI document of the gateway, and a page that shows it."""

from collections.abc import Mapping
from html import escape
from importlib.metadata import version
from typing import Any

from .answers import TASKS, TEXTS
from .limits import GatewayLimits

_SUMMARIES = {
    "/v1/tags": "Tag audio: the tags of each file, over time and as a whole.",
    "/v1/embeddings": "Embed audio: one vector for each file.",
    "/v1/tokens": "Turn audio into the tokens of an RVQ.",
    "/v1/similarity": "Compare the first file with each of the others, and with texts: cosines.",
}
_ARGUMENTS = {
    "threshold": "Lowest probability of a tag that counts; each tag's own by default.",
    "hop_seconds": "Seconds between windows; half a window's length by default.",
    "labels": "With a MuQ-MuLan: your own labels to tag with, in place of a head's tags.",
    "texts": "With a MuQ-MuLan: texts to compare the first file with.",
}
_REFUSALS = {
    400: "The request is malformed.",
    401: "A token is missing or wrong.",
    403: "Addresses are not fetched, or not from there; or the page's origin is not allowed.",
    404: "The model does not give this.",
    408: "The body, or the answer, took too long.",
    413: "The body or the audio is too long, or has too many parts.",
    415: "No decoder here reads such audio, or the body is compressed.",
    422: "The audio cannot be used.",
    429: "Too many requests at once: try again after Retry-After.",
    431: "The headers are too long.",
    500: "The model failed.",
    503: "The model server is away: try again after Retry-After.",
    507: "The gateway's disk is full.",
}
_NUMBERS = {"type": "array", "items": {"type": "number"}}
# What a result has besides the file's name.
_RESULTS: Mapping[str, Mapping[str, Any]] = {
    "/v1/tags": {
        "seconds": {"type": "number"},
        "tags": {"type": "object", "additionalProperties": {"type": "number"}},
        "scores": {"type": "object", "additionalProperties": {"type": "number"}},
        "cosines": {"type": "object", "additionalProperties": {"type": "number"}},
        "segments": {"type": "object", "additionalProperties": {"type": "array"}},
        "silent": {"type": "boolean"},
        "windows": {"type": "array", "items": {"type": "object"}},
        "error": {"type": "string"},
    },
    "/v1/embeddings": {"embedding": _NUMBERS, "error": {"type": "string"}},
    "/v1/tokens": {
        "tokens": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
        "error": {"type": "string"},
    },
    "/v1/similarity": {"cosine": {"type": "number"}, "text": {"type": "string"}},
}
_STREAM = (
    "Live audio is sent to the WebSocket `/v1/stream?format=f32&rate=48000`: binary messages of "
    "mono samples (`f32` or `s16`, little-endian), or with `format=encoded` the bytes of a stream "
    "such as MediaRecorder's WebM. JSON objects come back, one a message: `session`, `hop`, "
    "`event`, `silence`, and after the text message `end` the `segments`. A socket that broke off "
    "is resumed with `session` and `received`, the number of messages that came; the answer says "
    "from which `samples` or `bytes` to go on."
)


def openapi_document(limits: GatewayLimits, asks_token: bool, fetches: bool) -> dict[str, Any]:
    """The document.

    Args:
        limits: that it tells.
        asks_token: whether requests need one.
        fetches: whether addresses are taken in place of files.
    """
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "muqrt gateway",
            "version": version("muqrt"),
            "description": f"What a MuQ says of music. {_STREAM}",
        },
        "paths": {path: {"post": _operation(path, limits, fetches)} for path in TASKS}
        | {
            "/v1/model": {
                "get": _probe("The model's name, its tags and their thresholds.", (200,))
            },
            "/healthz": {"get": _probe("Whether the gateway runs.", (200,))},
            "/readyz": {"get": _probe("Whether it can answer.", (200, 503))},
            "/metrics": {
                "get": {
                    "summary": "Metrics for Prometheus.",
                    "responses": {"200": {"description": "Text.", "content": {"text/plain": {}}}},
                }
            },
        },
        "components": {
            "schemas": {
                "Error": {
                    "type": "object",
                    "required": ["error"],
                    "properties": {"error": {"type": "string"}},
                }
            }
        },
    }
    if asks_token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        operations = [document["paths"][path]["post"] for path in TASKS]
        for operation in [*operations, document["paths"]["/v1/model"]["get"]]:
            operation["security"] = [{"token": []}]
    return document


def _operation(path: str, limits: GatewayLimits, fetches: bool) -> dict[str, Any]:
    binary = {"type": "string", "format": "binary", "minLength": 1}
    files = {"type": "array", "items": binary, "minItems": 1, "maxItems": limits.files}
    text = {"type": "string", "minLength": 1}
    texts = {"type": "array", "items": text, "maxItems": limits.texts, "uniqueItems": True}
    lists = {TEXTS[path]: texts} if path in TEXTS else {}
    form = {
        "type": "object",
        "required": ["audio"],
        "properties": {"audio": files, **lists},
        "additionalProperties": False,
    }
    content: dict[str, Any] = {
        "application/octet-stream": {"schema": binary},
        "multipart/form-data": {"schema": form},
    }
    if fetches:
        urls = {
            "type": "array",
            "items": {"type": "string", "format": "uri"},
            "minItems": 1,
            "maxItems": limits.files,
        }
        schema = {
            "type": "object",
            "required": ["urls"],
            "properties": {"urls": urls, **lists},
            "additionalProperties": False,
        }
        content["application/json"] = {"schema": schema}
    answer = {
        "type": "object",
        "required": ["model", "results"],
        "properties": {
            "model": {"type": "string"},
            "results": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["cosine"] if path == "/v1/similarity" else ["audio"],
                    "properties": {"audio": {"type": "string"}, **_RESULTS[path]},
                },
            },
        },
    }
    mib, seconds = limits.upload_bytes >> 20, limits.audio_seconds
    return {
        "summary": _SUMMARIES[path],
        "description": f"At most {mib} MiB, and {seconds:g} s of audio a file.",
        "parameters": [
            {
                "name": name,
                "in": "query",
                "description": _ARGUMENTS[name],
                "schema": {"type": "number", "minimum": least, "maximum": most},
            }
            for name, (least, most) in TASKS[path].items()
        ]
        + [
            {"name": name, "in": "query", "description": _ARGUMENTS[name], "schema": schema}
            for name, schema in lists.items()
        ],
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {
                "description": "The answer.",
                "content": {"application/json": {"schema": answer}},
            }
        }
        | {str(status): _refusal(reason) for status, reason in _REFUSALS.items()},
    }


def _refusal(reason: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": reason, "content": {"application/json": {"schema": schema}}}


def _probe(summary: str, statuses: tuple[int, ...]) -> dict[str, Any]:
    return {
        "summary": summary,
        "responses": {str(each): {"description": "So it is.", "content": {}} for each in statuses},
    }


def page_of(document: Mapping[str, Any]) -> str:
    """The document as a page without scripts."""
    sections = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            rows = "".join(
                f"<tr><td><code>{escape(each['name'])}</code><td>{escape(each['description'])}"
                for each in operation.get("parameters", ())
            )
            statuses = "".join(
                f"<tr><td>{status}<td>{escape(each['description'])}"
                for status, each in operation["responses"].items()
            )
            example = f"curl -F audio=@song.mp3 localhost:8080{path}" if method == "post" else ""
            sections.append(
                f"<h2>{method.upper()} {escape(path)}</h2><p>{escape(operation['summary'])} "
                f"{escape(operation.get('description', ''))}</p>"
                + (f"<pre>{escape(example)}</pre>" if example else "")
                + (f"<table>{rows}</table>" if rows else "")
                + f"<details><summary>Answers</summary><table>{statuses}</table></details>"
            )
    info = document["info"]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        "<style>:root{color-scheme:light dark}body{font:1rem/1.5 sans-serif;max-width:48rem;"
        "margin:2rem auto;padding:0 1rem}td{padding-right:1rem;vertical-align:top}"
        "pre{overflow:auto}</style>"
        f"<title>{escape(info['title'])}</title><h1>{escape(info['title'])}</h1>"
        f"<p>{escape(info['description'])}</p>"
        '<p><a href="openapi.json">The OpenAPI document</a></p>' + "".join(sections) + "</html>"
    )
