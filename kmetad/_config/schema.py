"""The TOML's JSON Schema, for editors (``kmetad check --schema``); made from the same types as the checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, inspect

from kmetad._config.documented import documented
from kmetad._config.expected import choices, kind, options
from kmetad._config.kinds import NAME
from kmetad._config.model import RESERVED_KEYS, Config, Lane, PluginKeys

Schema = dict[str, Any]
_BY_PATH = ("use", "module", "path")
_DERIVED = {(Lane, "max_wait")}
"""Where the default depends on another key (``kmetad._config.rules``)."""


def json_schema(
    plugins: Mapping[str, type | None] | None = None, instances: Mapping[str, type | None] | None = None
) -> Schema:
    """A schema (draft 2020-12) that accepts what the configuration accepts, as far as a schema can tell.

    ``plugins`` has the ``Options`` of installed plugins, by name; ``instances`` those of
    instances whose plugin is a module's or a file's. None: it takes none. What nothing is
    known of may have any option.
    """
    made = _Definitions()
    config = made.table(Config)
    config["properties"]["plugins"] = made.plugins(plugins or {}, instances or {})
    config["properties"]["plugins"]["description"] = "[plugins.NAME]: one instance of a plugin each."
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "kmetad.toml",
        **config,
        "$defs": dict(sorted(made.found.items())),
    }


class _Definitions:
    """Each Struct is one definition, however often it occurs: options may hold themselves."""

    def __init__(self) -> None:
        self.found: dict[str, Schema] = {}
        self._names: dict[type, str] = {}

    def plugins(self, plugins: Mapping[str, type | None], instances: Mapping[str, type | None]) -> Schema:
        """The table ``plugins``: what an instance may hold depends on its ``use``, else on its name."""
        named = {name: self._plugin(name, options) for name, options in plugins.items()}
        instance = {**self.table(PluginKeys), "additionalProperties": True}
        chosen = [
            {"if": {"properties": {"use": {"const": name}}, "required": ["use"]}, "then": its}
            for name, its in named.items()
        ]
        self.found["instance"] = {**instance, "allOf": chosen} if chosen else instance
        anyone = {"$ref": "#/$defs/instance"}
        elsewhere = {"anyOf": [{"required": [key]} for key in _BY_PATH]}
        properties = {name: {"if": elsewhere, "then": anyone, "else": its} for name, its in named.items()}
        for number, (name, own) in enumerate(instances.items(), 1):
            its = self._plugin(f"instance{number}", own)  # its name may hold what no $ref can
            properties[name] = {"if": {"required": ["use"]}, "then": anyone, "else": its}
        return {
            "type": "object",
            "propertyNames": dict(NAME.schema),
            "properties": properties,
            "additionalProperties": anyone,
        }

    def _plugin(self, name: str, options: type | None) -> Schema:
        """An instance of this plugin: its options, beside the keys that mean the same for every plugin."""
        own = self.table(options, f"{name}.") if options else {"properties": {}}
        common = self.table(PluginKeys)["properties"]
        known = {
            "type": "object",
            **own,
            "properties": {**own["properties"], **{key: common[key] for key in RESERVED_KEYS}},
            "additionalProperties": False,
        }
        self.found[f"plugin.{name}"] = known
        return {"$ref": f"#/$defs/plugin.{name}"}

    def table(self, cls: type, prefix: str = "") -> Schema:
        """A Struct, written out."""
        info, meanings = _info(cls), documented(cls)
        properties: dict[str, Schema] = {} if info.tag_field is None else {info.tag_field: {}}
        for field in info.fields:
            if cls is Config and field.name == "plugins":
                continue
            meaning = meanings.get(field.name)
            told = {"description": meaning.replace("``", "")} if meaning else {}
            default = {} if (cls, field.name) in _DERIVED else _default(field)
            properties[field.encode_name] = {**told, **self._of(field.type, prefix), **default}
        required = [field.encode_name for field in info.fields if field.required]
        description = (cls.__doc__ or "").partition("\n")[0].replace("``", "")
        return {
            **({"description": description} if description else {}),
            "type": "object",
            "properties": properties,
            "additionalProperties": False,
            **({"required": required} if required else {}),
        }

    def _of(self, info: inspect.Type, prefix: str) -> Schema:
        own = kind(info)
        if own is not None:
            return dict(own.schema)
        match info:
            case inspect.Metadata():
                return self._of(info.type, prefix)
            case inspect.StructType(array_like=False):
                return self._named(info.cls, prefix)
            case inspect.DictType():
                names = {k: v for k, v in self._of(info.key_type, prefix).items() if k in ("pattern", "not")}
                values = self._of(info.value_type, prefix)
                told = {"propertyNames": names} if names else {}
                return {
                    "type": "object",
                    "additionalProperties": values or True,
                    **told,
                    **_sizes(info, "Properties"),
                }
            case inspect.ListType() | inspect.VarTupleType() | inspect.SetType() | inspect.FrozenSetType():
                return {"type": "array", "items": self._of(info.item_type, prefix), **_sizes(info, "Items")}
            case inspect.TupleType():
                items = [self._of(item, prefix) for item in info.item_types]
                return {
                    "type": "array",
                    "prefixItems": items,
                    "minItems": len(items),
                    "maxItems": len(items),
                }
            case inspect.UnionType():
                parts = [self._of(option, prefix) for option in options(info)]
                return parts[0] if len(parts) == 1 else {"anyOf": parts}
            case inspect.LiteralType() | inspect.EnumType():
                return {"enum": choices(info)}
            case inspect.BoolType():
                return {"type": "boolean"}
            case inspect.IntType():
                return {"type": "integer", **_bounds(info)}
            case inspect.FloatType():
                return {"type": "number", **_bounds(info)}
            case inspect.StrType():
                return {"type": "string", **_sizes(info, "Length")}
        return {}  # of a type that nobody could describe, anything may come

    def _named(self, cls: type, prefix: str) -> Schema:
        name = self._names.get(cls)
        if name is None:
            name = f"{prefix}{cls.__name__}"
            while name in self.found:
                name += "_"
            self._names[cls] = name
            self.found[name] = {}  # taken, should it hold itself
            self.found[name] = self.table(cls, prefix)
        return {"$ref": f"#/$defs/{name}"}


def _info(cls: type) -> inspect.StructType:
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    return info


def _bounds(info: inspect.IntType | inspect.FloatType) -> Schema:
    bounds = {
        "minimum": info.ge,
        "exclusiveMinimum": info.gt,
        "maximum": info.le,
        "exclusiveMaximum": info.lt,
        "multipleOf": info.multiple_of,
    }
    return {word: bound for word, bound in bounds.items() if bound is not None}


def _sizes(info: Any, of: str) -> Schema:
    sizes = {f"min{of}": info.min_length, f"max{of}": info.max_length}
    return {word: size for word, size in sizes.items() if size is not None}


def _default(field: inspect.Field) -> Schema:
    """The default as one would write it in the TOML; none where leaving the key out means something else."""
    value = field.default
    own = kind(field.type)
    if isinstance(value, Struct) or value is None:
        return {}
    shown = own.show(value) if own is not None else value
    shown = list(shown) if isinstance(shown, tuple) else shown
    plain = isinstance(shown, (bool, int, float, str)) or (
        isinstance(shown, list) and all(isinstance(item, str) for item in shown)
    )
    return {"default": shown} if plain and shown not in ("", []) else {}
