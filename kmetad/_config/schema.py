"""The TOML's JSON Schema, for editors (``kmetad check --schema``); made from the same types as the checks."""

from __future__ import annotations

from typing import Any

from msgspec import NODEFAULT, Struct, inspect

from kmetad._config.expected import choices, kind, options
from kmetad._config.model import Config, PluginKeys


def json_schema() -> dict[str, Any]:
    """A schema (draft 2020-12) that accepts what the configuration accepts, as far as a schema can tell."""
    config = _struct(_info(Config))
    instance = _struct(_info(PluginKeys))
    instance["additionalProperties"] = True  # the plugin's own options
    config["properties"]["plugins"] = {
        "description": "[plugins.NAME]: one instance of a plugin each",
        "type": "object",
        "additionalProperties": instance,
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "kmetad.toml", **config}


def _info(cls: type) -> inspect.StructType:
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    return info


def _struct(info: inspect.StructType) -> dict[str, Any]:
    properties = {}
    for field in info.fields:
        if info.cls is Config and field.name == "plugins":
            continue
        properties[field.name] = {**_of(field.type), **_default(field)}
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    required = [field.name for field in info.fields if field.required]
    if required:
        schema["required"] = required
    description = (info.cls.__doc__ or "").partition("\n")[0].replace("``", "")
    return {"description": description, **schema} if description else schema


def _of(info: inspect.Type) -> dict[str, Any]:
    own = kind(info)
    if own is not None:
        return dict(own.schema)
    match info:
        case inspect.Metadata():
            return _of(info.type)
        case inspect.StructType():
            return _struct(info)
        case inspect.DictType():
            names = {key: value for key, value in _of(info.key_type).items() if key in ("pattern", "not")}
            schema = {"type": "object", "additionalProperties": _of(info.value_type)}
            return {**schema, "propertyNames": names} if names else schema
        case inspect.VarTupleType():
            return {"type": "array", "items": _of(info.item_type)}
        case inspect.UnionType():
            parts = [_of(option) for option in options(info)]
            return parts[0] if len(parts) == 1 else {"anyOf": parts}
        case inspect.LiteralType():
            return {"enum": choices(info)}
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.IntType():
            bounds = {"minimum": info.ge, "maximum": info.le}
            return {"type": "integer", **{key: bound for key, bound in bounds.items() if bound is not None}}
        case inspect.StrType():
            return {"type": "string"}
    raise NotImplementedError(f"no JSON Schema for {info}")  # a new type in the model: teach it here


def _default(field: inspect.Field) -> dict[str, Any]:
    """The default as one would write it in the TOML; none where leaving the key out means something else."""
    value = field.default
    if value in (NODEFAULT, None, (), "") or isinstance(value, Struct):
        return {}
    own = kind(field.type)
    shown = own.show(value) if own is not None else value
    return {"default": list(shown) if isinstance(shown, tuple) else shown}
