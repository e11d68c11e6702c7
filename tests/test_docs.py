"""Documentation that cannot rot silently: generated pages are fresh, links lead somewhere, names exist."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import openapi_spec_validator
import pytest
from pydantic_settings import BaseSettings

import central.settings
import edge_agent.settings
from edge_agent import contract
from tests import documents, interfaces

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md"), ROOT / "tests" / "README.md"]
)
SETTINGS: dict[str, type[BaseSettings]] = {
    "edge-agent": edge_agent.settings.Settings,
    "central": central.settings.Settings,
}
SAMPLES = ROOT / "tests" / "samples" / "contract"
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize("path", documents.DOCUMENTS, ids=lambda path: path.name)
def test_a_generated_document_is_what_the_models_say(path: Path) -> None:
    """When this fails: make docs."""
    assert path.read_text(encoding="utf-8") == documents.DOCUMENTS[path](), "stale: run make docs"


def anchors(page: Path) -> set[str]:
    """The headings of a Markdown page, as links spell them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    """To a file of the repository, and to a heading of it where one is named."""
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def code(page: Path) -> str:
    """What stands in code font on a page."""
    text = page.read_text(encoding="utf-8")
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_exists(page: Path) -> None:
    """Make targets, subcommands, topics, settings and files of the repository."""
    text = code(page)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", text)) <= targets
    for program, module in (("edge-agent", "edge_agent"), ("central", "central")):
        source = (ROOT / module / "__main__.py").read_text()
        for command in re.findall(rf"(?:^|[`/ ]){program} ([a-z]+)\b", text, re.MULTILINE):
            assert re.search(rf'"{command}"|def {command}\(', source), f"{program} {command}"
    for topic in re.findall(rf"{contract.DEFAULT_PREFIX}/([\w<>+#/-]+)", text):
        group = topic.split("/")[1] if "/" in topic else "#"
        assert group in {"#", "+", contract.WISH.group, *(t.group for t in contract.TOPICS)}, topic
    for head, key in re.findall(r"`\[([\w\[\].]+)\] (\w+)", text):
        assert (head, key) in {(head, key) for model in SETTINGS.values() for head, key in keys(model)}, key
    for variable in re.findall(r"\bSIMPANG_\w+", text):
        assert variable in {name for model in SETTINGS.values() for name in variables(model)}, variable
    for path in re.findall(r"`((?:edge_agent|central|deploy|docs|scripts|tests)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path


def keys(model: type[BaseSettings]) -> Iterator[tuple[str, str]]:
    """Section and key of every setting."""
    for head, _, names in documents.settings_keys(model):
        yield from ((head, name) for name in names)


def variables(model: type[BaseSettings]) -> Iterator[str]:
    """The environment variable of every setting."""
    for head, name in keys(model):
        section = head.strip("[]").replace(".", "__")
        yield f"{model.model_config['env_prefix']}{section}{'__' if section else ''}{name}".upper()


@pytest.mark.parametrize("model", SETTINGS.values(), ids=SETTINGS)
def test_every_setting_has_a_meaning(model: type[BaseSettings]) -> None:
    """A description, or a sentence under the attribute."""
    for head, section, names in documents.settings_keys(model):
        for name, _, _, meaning in documents.field_rows(section, names):
            assert meaning, f"[{head}] {name}"


EXAMPLES: dict[str, Callable[[Path], object]] = {
    "edge-agent": edge_agent.settings.load,
    "central": central.settings.load,
}
"""The example files, and the very functions that read an operator's file."""
KEPT_BACK = re.compile(r"^#[: ](?=\[|\w+ = )", re.MULTILINE)
"""What makes a comment of a key or section that stands in an example."""


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_names_every_setting(name: str) -> None:
    """In its section; a key that is best left alone stands there as a comment."""
    text = (ROOT / "docs" / "examples" / f"{name}.toml").read_text(encoding="utf-8")
    found = set()
    for head, body in re.findall(
        r"(?:\A|^\[(.+?)\]$)(.*?)(?=^\[|\Z)", KEPT_BACK.sub("", text), re.MULTILINE | re.DOTALL
    ):
        found |= {(head, key) for key in re.findall(r"^(\w+) = ", body, re.MULTILINE)}
    assert found == set(keys(SETTINGS[name]))


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_read_as_it_is_and_with_every_key_set(name: str, tmp_path: Path) -> None:
    """What stands there as a comment is good, too."""
    example = ROOT / "docs" / "examples" / f"{name}.toml"
    EXAMPLES[name](example)
    everything = tmp_path / example.name
    everything.write_text(KEPT_BACK.sub("", example.read_text(encoding="utf-8")), encoding="utf-8")
    EXAMPLES[name](everything)


ASYNCAPI: dict[str, Any] = {
    "type": "object",
    "required": ["asyncapi", "info", "channels", "operations", "components"],
    "additionalProperties": False,
    "properties": {
        "asyncapi": {"const": "3.0.0"},
        "info": {"type": "object", "required": ["title", "version"]},
        "defaultContentType": {"type": "string"},
        "servers": {"additionalProperties": {"type": "object", "required": ["host", "protocol"]}},
        "channels": {
            "minProperties": 1,
            "additionalProperties": {
                "type": "object",
                "required": ["address", "messages"],
                "properties": {
                    "parameters": {
                        "additionalProperties": {
                            "propertyNames": {"enum": ["enum", "default", "description", "examples", "location"]}
                        }
                    },
                    "messages": {"additionalProperties": {"$ref": "#/$defs/reference"}},
                },
            },
        },
        "operations": {
            "minProperties": 1,
            "additionalProperties": {
                "type": "object",
                "required": ["action", "channel"],
                "properties": {
                    "action": {"enum": ["send", "receive"]},
                    "channel": {"$ref": "#/$defs/reference"},
                    "messages": {"type": "array", "items": {"$ref": "#/$defs/reference"}},
                    "bindings": {
                        "properties": {
                            "mqtt": {
                                "properties": {"qos": {"enum": [0, 1, 2]}, "retain": {"type": "boolean"}},
                                "additionalProperties": False,
                            }
                        }
                    },
                },
            },
        },
        "components": {"required": ["messages", "schemas"]},
    },
    "$defs": {
        "reference": {
            "type": "object",
            "required": ["$ref"],
            "properties": {"$ref": {"type": "string"}},
            "additionalProperties": False,
        }
    },
}
"""The parts of AsyncAPI 3.0.0 that our document uses."""


def references(value: Any) -> Iterator[str]:
    """Every `$ref` below a JSON value."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for part in value.values():
            yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


def resolve(document: Any, reference: str) -> Any:
    """What a reference within the document points at."""
    assert reference.startswith("#/")
    for step in reference[2:].split("/"):
        document = document[step]
    return document


def test_the_asyncapi_document_is_well_formed() -> None:
    """Structure, references, one channel per topic, its parameters, a sender and a receiver for each."""
    document = interfaces.asyncapi()
    jsonschema.Draft202012Validator(ASYNCAPI).validate(document)
    for reference in references(document):
        resolve(document, reference)
    assert set(document["channels"]) == {topic.group for topic in (*contract.TOPICS, contract.WISH)}
    for channel in document["channels"].values():
        assert set(re.findall(r"{(\w+)}", channel["address"])) == set(channel["parameters"])
    doers = {(o["action"], o["channel"]["$ref"].rpartition("/")[2]) for o in document["operations"].values()}
    assert doers == {(action, group) for action in ("send", "receive") for group in document["channels"]}


@pytest.mark.parametrize("path", sorted(ROOT.glob("docs/openapi-*.json")), ids=lambda path: path.stem)
def test_the_openapi_documents_are_valid(path: Path) -> None:
    """By the schema of OpenAPI itself."""
    openapi_spec_validator.validate(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("group", interfaces.asyncapi()["components"]["messages"])
def test_the_samples_fit_the_asyncapi_document(group: str) -> None:
    """A reader who has only the document accepts what the agent sends."""
    document = interfaces.asyncapi()
    schema = {**document, "$ref": document["components"]["messages"][group]["payload"]["$ref"]}
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    samples = [path for path in SAMPLES.glob("*.json") if path.stem == group or path.stem.startswith(f"{group}-")]
    assert samples
    for path in samples:
        validator.validate(json.loads(path.read_text()))
