"""configuration.md: every key of the TOML that isn't a plugin's own."""

from __future__ import annotations

from typing import Any

from msgspec import inspect

from kmetad._config.documented import documented
from kmetad._config.model import Config, EnvItem, Lane, PluginKeys, Retry, Token, VolumeItem
from kmetad.events import TYPES
from tests.reference.markdown import GENERATED, form, inner, keys, prose

HEAD = f"""\
{GENERATED}

# kmetad.toml

The file that `-c` names, else `$KMETAD_CONFIG` (empty: none), else `/etc/kmetad/kmetad.toml` if it is there. Every part
is optional; with no file at all kmetad finds volumes and variables by convention. A new version is checked, and comes
into force [by itself](../running.md#a-new-configuration).

- Durations are written as Kubernetes writes them: `200ms`, `25s`, `1m30s`. Sizes, too: `128Mi`, or a number of bytes.
- Signals are names, with or without SIG, or numbers.
- Paths are absolute. No value is ever read by a shell.
- A key that isn't known is an error, as is a wrong type: `kmetad check` lists all of them, with their lines.

[kmetad.schema.json](kmetad.schema.json) is the same for editors, with the options of this repository's plugins. Put it
beside the TOML, and begin that with the line below: editors with [Taplo](https://taplo.tamasfe.dev) (Even Better TOML
in VS Code) or [Tombi](https://tombi-toml.github.io/tombi/) then complete keys, show what they mean, and mark what is
wrong. `kmetad check --schema` prints it with the options of the plugins that are installed where it runs, and of
those that the TOML names by `module` or `path`.

    #:schema ./kmetad.schema.json

An editor sees the form. Whether a volume is there, a `match` can match, or two keys contradict each other is told by
`kmetad check`.
"""
MATCH = f"""\
`match` takes `TYPE:GLOB`, on a change's type and key ([events.md](events.md)). TYPE is one of
{", ".join(f"`{type_}`" for type_ in TYPES)}, or `*`.
In GLOB `*` stands for any text, slashes included, `?` for one character, `[abc]` for one of these.
"""
_DEFAULTS: dict[type, dict[str, str]] = {
    Lane: {"max_wait": "10 × `debounce`", "retry": "as below"},
    PluginKeys: {"use": "NAME", "lane": "as below"},
    Token: {"path": "found there by convention"},
}
_TITLES = {
    VolumeItem: "[volumes.NAME.items]: a table VolumeItem for each file",
    EnvItem: "[env]: a table EnvItem for a variable",
    Lane: "[plugins.NAME.lane]: a table Lane",
    Retry: "[plugins.NAME.lane.retry]: a table Retry",
}


def page() -> str:
    """The text."""
    parts = [HEAD]
    info: Any = inspect.type_info(Config)
    meanings = documented(Config)
    for field in info.fields:
        if field.name == "plugins":
            continue
        many = isinstance(field.type, inspect.DictType)
        structs = inner(field.type)
        if many and isinstance(field.type.value_type, inspect.UnionType):
            told = f"{prose(meanings[field.name])} The value is {form(field.type.value_type)}."
            parts.append(f"## [{field.name}]\n\n{told}\n")
        else:
            title = f"## [{field.name}{'.NAME' if many else ''}]"
            parts.append(f"{title}\n\n{_of(structs.pop(0))}")
        parts += [_section(cls) for cls in structs]
        if many and field.name == "volumes":
            parts.append(_section(VolumeItem))
    parts.append(f"## [plugins.NAME]\n\n{_of(PluginKeys)}\n{MATCH}")
    parts += [_section(Lane), _section(Retry)]
    return "\n".join(parts)


def _section(cls: type) -> str:
    return f"### {_TITLES[cls]}\n\n{_of(cls)}"


def _of(cls: type) -> str:
    told = prose((cls.__doc__ or "").partition("\n")[0])
    told = told.partition("`: ")[2] or told
    return f"{told[0].upper()}{told[1:]}\n\n{keys(cls, _DEFAULTS.get(cls))}"
