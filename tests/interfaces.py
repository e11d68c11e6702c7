"""The interfaces in machine-readable form: AsyncAPI of the now lane, OpenAPI of the doors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic.json_schema import models_json_schema

from central.web.api import create_app
from edge_agent import contract

if TYPE_CHECKING:
    from central.web.api import Console

REFERENCE: Final = "#/components/schemas/{model}"


@dataclass(frozen=True, slots=True)
class Answer:
    """One of the agent door's answers to an item."""

    status: int
    body: type[contract.Message]
    when: str
    then: str


_KEEP: Final = "keeps the item, waits, tries again"
_ASIDE: Final = "checks the file, tries once more, then sets the item aside in quarantine"
_SUPERSEDED: Final = "sets the item aside in quarantine; the centre has what it was, so nothing is lost"
ANSWERS: Final = (
    Answer(201, contract.Receipt, "stored durably", "may drop its copy"),
    Answer(
        200, contract.Receipt, "the same bytes were stored before; the receipt is the first one", "may drop its copy"
    ),
    Answer(400, contract.Problem, "the name, the digest or the content is wrong", _ASIDE),
    Answer(401, contract.Problem, "the token is not known", _KEEP),
    Answer(409, contract.Problem, "other bytes are stored under this identity", _SUPERSEDED),
    Answer(413, contract.Problem, "the body is too large", _ASIDE),
    Answer(503, contract.Problem, "too many uploads at once, or storage is down; with `Retry-After`", _KEEP),
    Answer(507, contract.Problem, "the archive has no room; with `Retry-After`", _KEEP),
)


def agent_door() -> dict[str, Any]:
    """docs/openapi-agent.json: the history lane as OpenAPI 3.1."""
    models = (contract.Receipt, contract.Problem, contract.Hello, contract.Inventory, contract.Differences)
    _, schemas = models_json_schema([(model, "validation") for model in models], ref_template=REFERENCE)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Simpang: the agent door",
            "version": contract.CONTRACT_VERSION,
            "description": "Items in, receipts out.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"token": []}],
        "paths": {
            f"{contract.ITEM_PATH}{{name}}": {
                "put": {
                    "operationId": "put-item",
                    "summary": "Store an item",
                    "parameters": [
                        _parameter("name", "path", "Name of the item"),
                        _parameter("Content-Digest", "header", "Hash of the body as in the name (RFC 9530)"),
                    ],
                    "requestBody": {
                        "required": True,
                        "content": {kind.media_type: {} for kind in contract.ItemKind},
                    },
                    "responses": {str(answer.status): _response(answer.body, answer.when) for answer in ANSWERS},
                }
            },
            contract.HELLO_PATH: {
                "get": {
                    "operationId": "hello",
                    "summary": "Who the centre takes the caller for",
                    "parameters": [
                        _parameter("run", "query", "The caller's run, to be told of the site's others", required=False)
                    ],
                    "responses": {
                        "200": _response(contract.Hello, "the token is known"),
                        "400": _response(contract.Problem, "not the name of a run"),
                        "401": _response(contract.Problem, "the token is not known"),
                    },
                }
            },
            contract.INVENTORY_PATH: {
                "post": {
                    "operationId": "compare",
                    "summary": "Which ranges of items the centre holds otherwise",
                    "requestBody": {
                        "required": True,
                        "content": {"application/json": {"schema": {"$ref": REFERENCE.format(model="Inventory")}}},
                    },
                    "responses": {
                        "200": _response(contract.Differences, "compared"),
                        "400": _response(contract.Problem, "not an inventory"),
                        "401": _response(contract.Problem, "the token is not known"),
                        "413": _response(contract.Problem, "the inventory is too large"),
                        "503": _response(contract.Problem, "too many comparisons at once; with `Retry-After`"),
                    },
                }
            },
        },
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def console() -> dict[str, Any]:
    """docs/openapi-console.json: the JSON API as the application describes itself."""
    app = create_app(cast("Console", None))  # routes touch it only when they are asked
    app.openapi_version = "3.2.0"  # it describes the event stream in words that came with this version
    return app.openapi()


def _parameter(name: str, place: str, description: str, *, required: bool = True) -> dict[str, Any]:
    return {
        "name": name,
        "in": place,
        "required": required,
        "description": description,
        "schema": {"type": "string"},
    }


def _response(body: type[contract.Message], when: str) -> dict[str, Any]:
    kind = "application/problem+json" if body is contract.Problem else "application/json"
    schema = {"$ref": REFERENCE.format(model=body.__name__)}
    return {"description": when, "content": {kind: {"schema": schema}}}


def asyncapi() -> dict[str, Any]:
    """docs/asyncapi.json: the now lane as AsyncAPI 3."""
    topics = {topic.group: topic for topic in (*contract.TOPICS, contract.WISH)}
    _, schemas = models_json_schema([(topic.model, "validation") for topic in topics.values()], ref_template=REFERENCE)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Simpang: the now lane",
            "version": contract.CONTRACT_VERSION,
            "description": "State and events of each site: agents send, the centre and anyone it admits receives. "
            "Wishes: the centre sends, agents receive.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "broker": {
                "host": "{host}",
                "protocol": "mqtt",
                "description": "The centre's broker; MQTT 5, and 3.1.1 as well. User is the site, password its token.",
                "variables": {"host": {"description": "The centre's host, with port"}},
            }
        },
        "channels": {group: _channel(topic) for group, topic in topics.items()},
        "operations": {
            f"{action}-{group}": _operation(action, topic)
            for group, topic in topics.items()
            for action in ("send", "receive")
        },
        "components": {
            "messages": {
                group: {"title": topic.summary, "payload": {"$ref": REFERENCE.format(model=topic.model.__name__)}}
                for group, topic in topics.items()
            },
            "schemas": schemas["$defs"],
        },
    }


def _channel(topic: contract.Topic) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "prefix": {"default": contract.DEFAULT_PREFIX},
        "site": {"description": "Id of the site"},
    }
    if topic.per_camera:
        parameters["camera"] = {"description": "Id of the camera"}
    return {
        "address": topic.path("{prefix}", "{site}", "{camera}"),
        "title": topic.summary,
        "parameters": parameters,
        "messages": {topic.group: {"$ref": f"#/components/messages/{topic.group}"}},
    }


def _operation(action: str, topic: contract.Topic) -> dict[str, Any]:
    mqtt: dict[str, Any] = {"qos": topic.qos}
    if action == "send":
        mqtt["retain"] = topic.retained
    sender, receiver = ("The centre", "An agent") if topic is contract.WISH else ("The agent", "A subscriber")
    return {
        "action": action,
        "title": f"{f'{sender} says' if action == 'send' else f'{receiver} learns'}: {topic.summary}",
        "channel": {"$ref": f"#/channels/{topic.group}"},
        "messages": [{"$ref": f"#/channels/{topic.group}/messages/{topic.group}"}],
        "bindings": {"mqtt": mqtt},
    }
