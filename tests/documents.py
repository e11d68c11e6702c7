"""Writes the documents that are generated from the models: `make docs`. A test fails when one of them is stale."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel

import central.settings
import edge_agent.settings
from edge_agent import contract
from tests import interfaces

DOCS: Final = Path(__file__).parents[1] / "docs"
WORDS: Final = (
    contract.PresenceState,
    contract.Supply,
    contract.SourceState,
    contract.Step,
    contract.Reach,
    contract.LinkPart,
    contract.PaceLimit,
    contract.Picture,
    contract.ClockQuality,
    contract.LossCause,
    contract.EventType,
)
"""The enumerations that messages use."""

Schema = Mapping[str, Any]


def meanings(cls: type) -> dict[str, str]:
    """The sentence under each attribute of a class, read from its source."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for first, second in pairwise(tree.body):
        target = first.target if isinstance(first, ast.AnnAssign) else None
        if isinstance(first, ast.Assign):
            target = first.targets[0] if isinstance(first.targets[0], ast.Name) else None
        if isinstance(target, ast.Name) and isinstance(second, ast.Expr) and isinstance(second.value, ast.Constant):
            found[target.id] = " ".join(str(second.value.value).split())
    return found


def phrase(schema: Schema) -> str:
    """A JSON schema in a few words for people."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(phrase(option) for option in schema["anyOf"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    match schema.get("type"):
        case "array":
            return f"list of {phrase(schema.get('items', {}))}"
        case "object":
            return "object"
        case "string":
            return _text(schema)
        case "integer" | "number" as kind:
            return f"{kind}{_limits(schema)}"
        case str(kind):
            return kind
        case _:
            return "any value"


def _text(schema: Schema) -> str:
    patterns = {_pattern(contract.SiteId): "id", _pattern(contract.RunId): "run", r"^[0-9a-f]{64}$": "hash in hex"}
    formats = {"date-time": "instant", "password": "secret text"}
    kind = str(schema.get("format", "text"))
    return patterns.get(str(schema.get("pattern")), formats.get(kind, kind))


def _pattern(annotated: Any) -> str:
    return str(annotated.__metadata__[0].pattern)


def _limits(schema: Schema) -> str:
    if "minimum" in schema and "maximum" in schema:
        return f" {_amount(schema['minimum'])}…{_amount(schema['maximum'])}"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    return "".join(f" {sign} {_amount(schema[key])}" for key, sign in signs.items() if key in schema)


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """A Markdown table, without the columns that are empty."""
    columns = [(title, *cells) for title, *cells in zip(head, *rows, strict=True) if any(cells)]
    title, *lines = zip(*columns, strict=True)
    for cells in (title, ["---"] * len(columns), *lines):
        yield f"| {' | '.join(cell.replace('|', '∣') for cell in cells)} |"
    yield ""


def field_rows(model: type[BaseModel], names: Iterable[str] | None = None) -> Iterator[tuple[str, str, str, str]]:
    """Name, type, default and meaning of each field, or of those named."""
    schema = model.model_json_schema()
    sentences = meanings(model)
    for name in names or model.model_fields:
        field = schema["properties"][name]
        optional = "default" in field and name not in schema.get("required", ())
        meaning = (field.get("description") or sentences.get(name, "")).rstrip(".")
        yield f"`{name}`", phrase(field), _default(field["default"]) if optional else "", meaning


def _default(value: object) -> str:
    return _amount(value) if type(value) is int and value >= 1024**2 else f"`{json.dumps(value)}`"


def _amount(value: float) -> str:
    for unit, size in (("GiB", 1024**3), ("MiB", 1024**2)):
        if value and value % size == 0:
            return f"{value // size:g} {unit}"
    return f"{value:g}"


def _paragraph(cls: type) -> list[str]:
    return [inspect.cleandoc(cls.__doc__ or ""), ""]


def _message(model: type[contract.Message], title: str) -> Iterator[str]:
    yield from (f"### {title}", "")
    yield from _paragraph(model)
    yield from table(("field", "type", "default", "meaning"), field_rows(model))


def _generated(title: str) -> list[str]:
    return [f"# {title}", "", "Generated from the models by `make docs`; edit those, not this page.", ""]


def contract_page() -> str:
    """docs/contract.md."""
    c = contract
    lines = _generated(f"The contract, version {c.CONTRACT_VERSION}")
    lines += [_CONTRACT_INTRODUCTION, "## History: items over HTTP", "", _ITEMS]
    lines += table(
        ("kind", "file ending", "content type"),
        ((f"`{k}`", f".{k.extension}", f"`{k.media_type}`") for k in c.ItemKind),
    )
    lines += table(
        ("status", "body", "when", "what the agent does"),
        (
            (str(answer.status), f"[{answer.body.__name__}](#{answer.body.__name__.lower()})", answer.when, answer.then)
            for answer in interfaces.ANSWERS
        ),
    )
    lines += [_SEGMENT, _INVENTORY]
    messages: list[type[c.Message]] = [c.Receipt, c.Problem, c.Hello, c.Inventory, c.Range, c.Differences]
    messages += [c.SegmentFacts, c.Hole, c.Telemetry, c.Sample]
    for model in messages:
        lines += _message(model, model.__name__)
    lines += ["## Now: topics over MQTT", "", _TOPICS]
    lines += table(
        ("topic", "retained", "QoS", "message", "what"),
        (
            (
                f"`{topic.path('<prefix>', '<site>', '<camera>')}`",
                "yes" if topic.retained else "no",
                str(topic.qos),
                f"[{topic.model.__name__}](#{topic.model.__name__.lower()})",
                topic.summary,
            )
            for topic in (*c.TOPICS, c.WISH)
        ),
    )
    for topic in (*c.TOPICS, c.WISH):
        lines += _message(topic.model, topic.model.__name__)
    lines += _message(c.EventData, "EventData")
    lines += _message(c.Stretch, "Stretch")
    lines += ["## Words", ""]
    for words in WORDS:
        lines += [f"### {words.__name__}", "", *_paragraph(words), *_word_list(words)]
    return "\n".join(lines).rstrip() + "\n"


def _word_list(words: type[StrEnum]) -> Iterator[str]:
    sentences = meanings(words)
    for word in words:
        yield f"- `{word.value}`" + (f": {sentences[word.name]}" if word.name in sentences else "")
    yield ""


_CONTRACT_INTRODUCTION = f"""\
What crosses the road between an agent and the centre, and nothing else does. The models are in
[`edge_agent/contract/`](../edge_agent/contract/__init__.py); both ends import that package. The same topics in
machine-readable form: [asyncapi.json](asyncapi.json). One sample of each message that both ends must read:
[`tests/samples/contract`](../tests/samples/contract).

Bodies are flat JSON in UTF-8. Units stand in the names (`_s`, `_ms`, `_bytes`, `_percent`, `_v`, `_a`, `_c`, `_bps`).
An *instant* is RFC 3339 in UTC with milliseconds, such as `2026-11-24T02:10:25.000Z`. A reader ignores keys that it
does not know; a value that is not known is null, never stale. An *id* is 1 to 32 of `a-z`, `0-9` and `-`, with no `-`
at either end. No site may be called {" or ".join(f"`{name}`" for name in sorted(contract.RESERVED_SITES))}, and no
camera `{contract.NO_CAMERA}`.
"""

_ITEMS = f"""\
`PUT {contract.ITEM_PATH}<item name>` stores an item; the body is the file. Headers: `Authorization: Bearer <token>`,
`Content-Type`, `Content-Length` (at most {contract.MAX_ITEM_BYTES // 1024**2} MiB) and
`Content-Digest: sha-256=:<base64>:` (RFC 9530).

`GET {contract.HELLO_PATH}` answers who the centre takes the caller for; with `?run=<run>` also the newest item that it
knows of the site's other runs, by which an agent finds out that its disk has stepped back, and above
which its next run begins.

An item's name is also its file name at the agent:

```
<run>_<sequence>_<kind>_<camera>_<start_ms>_<duration_ms>_<clock>_<sha256>.<ending>
```

`run` is six digits that count the agent's lives and four random characters; `sequence` eight digits that count the
items of the run. Site, run and sequence together are the identity; the rest are labels. `camera` is
`{contract.NO_CAMERA}` for items of no camera, `start_ms` Unix time by the agent's clock, which is as good as `clock`
([ClockQuality](#clockquality)) says, `sha256` the hash of the body in hex. There is one spelling of each name.
"""

_SEGMENT = """\
A segment is a fragmented MP4 file (`ftyp moov (moof mdat)…`) that plays by itself. Its last box is of type `uuid`, with
the [SegmentFacts](#segmentfacts) as JSON behind the 16 bytes of the user type.
"""

_INVENTORY = f"""\
`POST {contract.INVENTORY_PATH}` compares what both ends hold. The body is an [Inventory](#inventory) of at most
{contract.MAX_RANGES} ranges with {contract.MAX_COMPARED} items together, the answer [Differences](#differences): which
of the ranges the centre holds otherwise. An agent asks again for 16 parts of each of those; a range of one item that
differs is an item that the centre lacks, and is sent again. A digest is the first 16 bytes of SHA-256, in hex, over
`<sequence> <sha256>\\n` of each item in order. 400, 401, 413 and 503 are as above.
"""

_TOPICS = f"""\
The prefix is `{contract.DEFAULT_PREFIX}` unless configured. A site writes only below its own name, and its
`{contract.WISH.group}` is written by the centre alone. A message is at most {contract.MAX_MESSAGE_BYTES // 1024} KiB.
Presence is also the will: when an agent vanishes, the broker says `offline` for it. A wish is a state that the centre
would like, whole each time; what the site makes of it is in its own messages.
"""


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The settings model within an annotation, where there is one."""
    for part in get_args(annotation):
        if found := section_of(part):
            return found
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def settings_keys(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, type[BaseModel], list[str]]]:
    """Each section of a settings model: its TOML head (empty for the top), its model, the names of its keys."""
    sections = {name: section_of(field.annotation) for name, field in model.model_fields.items()}
    yield path, model, [name for name, section in sections.items() if section is None]
    for name, section in sections.items():
        if section is not None:
            head = f"{path}.{name}" if path else name
            many = get_origin(model.model_fields[name].annotation) is tuple
            yield from settings_keys(section, f"[{head}]" if many else head)


def settings_page() -> str:
    """docs/settings.md."""
    lines = [*_generated("Settings"), _SETTINGS]
    for title, model, introduction in (
        ("The agent", edge_agent.settings.Settings, _AGENT_SETTINGS),
        ("The centre", central.settings.Settings, _CENTRE_SETTINGS),
    ):
        lines += [f"## {title}", "", introduction]
        for head, section, names in settings_keys(model):
            if head:
                lines += [f"### `[{head}]` of {title.lower()}", "", *_paragraph(section)]
            lines += table(("key", "type", "default", "meaning"), field_rows(section, names))
    return "\n".join(lines).rstrip() + "\n"


_SETTINGS = """\
Files are TOML. A key that nobody knows is refused. The environment overrules the file: the prefix, the section and the
key in capitals, with two underscores where a section begins. A key without a default must be there, `null` stands for
a key that is left out.
"""

_AGENT_SETTINGS = """\
`edge-agent run --config FILE`. A commented file with every key: [edge-agent.toml](examples/edge-agent.toml). In the
environment: `SIMPANG_SITE`, `SIMPANG_CENTRE__TOKEN` and so on.
"""

_CENTRE_SETTINGS = """\
`central serve --config FILE`. A commented file with every key: [central.toml](examples/central.toml). In the
environment: `SIMPANG_CENTRAL_DIRECTORY`, `SIMPANG_CENTRAL_BROKER__MODE` and so on.
"""


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


DOCUMENTS: Final[Mapping[Path, Callable[[], str]]] = {
    DOCS / "contract.md": contract_page,
    DOCS / "settings.md": settings_page,
    DOCS / "asyncapi.json": lambda: _json(interfaces.asyncapi()),
    DOCS / "openapi-agent.json": lambda: _json(interfaces.agent_door()),
    DOCS / "openapi-console.json": lambda: _json(interfaces.console()),
}
"""Every generated document, and what writes it."""


def main() -> None:
    """Write every generated document."""
    for path, text in DOCUMENTS.items():
        path.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
