"""``kmetad check``"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kmetad.testing.kubelet import Volume
from tests.cli import inside, kmetad

FILLER = """\
from kmetad import hookimpl

class Plugin:
    @hookimpl
    def kmetad_app_env(self, snapshot):
        return {}
"""

TAGGER = """\
from kmetad import LogTags, hookimpl

class Plugin:
    @hookimpl
    def kmetad_log_tags(self, snapshot):
        return LogTags({})
"""

PLUGIN = """\
import msgspec
from kmetad import hookimpl

class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    greeting: str = "hello"

class Plugin:
    def __init__(self, options: Options) -> None:
        self.greeting = options.greeting

    @hookimpl
    def kmetad_on_label(self, change):
        raise AssertionError("a check calls no hook")

    @hookimpl
    def kmetad_on_change(self, batch):
        raise AssertionError("a check calls no hook")

    def simulate(self, batch):
        yield f"say {self.greeting} to {len(batch.changes)}, last {batch.changes[-1].new}"
"""

BARE = """\
from kmetad import hookimpl

class Plugin:
    @hookimpl
    def kmetad_on_token(self, change):
        print(change)
"""


class Setup:
    """A directory with a volume, plugins, and a configuration to be written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.volume = Volume(root / "podinfo")
        self.volume.write(labels={"app": "web"}, annotations={}, files={"cpu_limit": "500"})
        (root / "greeter.py").write_text(PLUGIN)
        (root / "filler.py").write_text(FILLER)
        (root / "tagger.py").write_text(TAGGER)
        (root / "bare.py").write_text(BARE)
        for file in root.glob("*.py"):
            file.chmod(0o644)
        self.toml = root / "kmetad.toml"
        self.write("")

    def write(self, text: str) -> None:
        """The volume and the greeter, and what a test adds."""
        self.toml.write_text(
            f'[volumes.podinfo]\npath = "{self.root}/podinfo"\n'
            'items.cpu_limit = { resource = "limits.cpu", container = "app", divisor = "1m" }\n'
            f'[plugins.greeter]\npath = "{self.root}/greeter.py"\nmatch = ["label:*", "resource:*"]\n' + text
        )

    def check(self, *args: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        done = inside("check", "-c", str(self.toml), *args, env=env)
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    """A configuration without a fault."""
    tmp_path.chmod(0o755)
    return Setup(tmp_path)


def test_nothing_is_wrong(setup: Setup) -> None:
    """0, and what there is; as strict as can be."""
    done = kmetad("check", "--strict", "-c", str(setup.toml))
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout.splitlines() == [
        f"config  {setup.toml}",
        "source  podinfo (healthy)",
        "source  env (healthy)",
        "plugin  greeter (label:*, resource:*)",
    ]


def test_all_errors_are_listed(setup: Setup) -> None:
    """2; each with file, line and place: the configuration's and the plugins'."""
    setup.write(
        'greting = "hi"\n[watch]\nrescan = 5\n'
        '[plugins.nowhere]\nuse = "reloda"\n[plugins.other]\nmodule = "no.such.module"\n'
    )
    code, out, err = setup.check()
    assert (code, out) == (2, "")
    lines = err.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("error: ") for line in lines)
    assert f"{setup.toml}:9: watch.rescan" in lines[0]
    assert "plugins.greeter.greting" in lines[1]
    assert "reload" in lines[2]
    assert "no.such.module" in lines[3]


def test_toml_that_does_not_parse(setup: Setup) -> None:
    """2, with the line."""
    setup.toml.write_text("[volumes\n")
    code, out, err = setup.check("--strict")
    assert (code, out) == (2, "")
    assert f"error: {setup.toml}:1: " in err


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise RuntimeError('at import')", "at import"),
        ("class Plugin:\n    def __init__(self): raise RuntimeError('made')\n", "has no hook"),
        (
            "from kmetad import hookimpl\nclass Plugin:\n    @hookimpl\n    def kmetad_on_lable(self, change): ...\n",
            "kmetad_on_label",
        ),
        (
            (
                "from kmetad import hookimpl\nclass Plugin:\n    def __init__(self): raise RuntimeError('made')\n"
                "    @hookimpl\n    def kmetad_on_label(self, change): ...\n"
            ),
            "made",
        ),
    ],
)
def test_a_plugin_that_cannot_be_made(setup: Setup, body: str, said: str) -> None:
    """2, and why: at import, at construction, a misspelt hook, none at all."""
    file = setup.root / "broken.py"
    file.write_text(body)
    file.chmod(0o644)
    setup.write(f'[plugins.broken]\npath = "{file}"\n')
    code, _, err = setup.check()
    assert code == 2
    assert "error: plugins.broken" in err
    assert said in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[state]\ndir = "/nowhere/at/all"\n', "state.dir: /nowhere/at/all isn't there"),
        ('[volumes.gone]\npath = "/nowhere/at/all"\n', "gone: /nowhere/at/all"),
        ('[plugins.more]\npath = "{root}/greeter.py"\nmatch = ["label:nope"]\n', "there are label:app"),
        ('lane = {{ debounce = "2s", max_wait = "1s" }}\n', "plugins.greeter.lane: max_wait (1s)"),
        ('lane = {{ debounce = "10s" }}\n', "1m40s"),
        ('lane = {{ splay = "5m" }}\n', "5m"),
        ("[env]\nZONE = \"metadata.labels['zone']\"\n", "only in the environment"),
        ('[api]\nkubeconfig = "/nowhere/config"\n', "api.kubeconfig: there is no /nowhere/config"),
        ('[plugins.a]\npath = "{root}/filler.py"\n', 'set [run] start = "after-sync"'),
        (
            '[plugins.a]\npath = "{root}/filler.py"\n[plugins.b]\npath = "{root}/filler.py"\n',
            "plugins.a, plugins.b all have variables",
        ),
        (
            '[plugins.a]\nuse = "reload"\nsignal = "HUP"\n',
            "plugins.a: without a command behind `kmetad run --`: signal is for the app that kmetad wraps",
        ),
        ('[plugins.a]\nuse = "reload"\nrestart = true\n', "restart is for the app that kmetad wraps"),
    ],
)
def test_warnings(setup: Setup, text: str, said: str) -> None:
    """0, or 1 with --strict; each says what will not work."""
    setup.write(text.format(root=setup.root))
    code, out, err = setup.check(env={"ZONE": "eu-1"})
    assert code == 0
    assert out.startswith("config")
    assert all(line.startswith("warning: ") for line in err.splitlines())
    assert said in err
    assert setup.check("--strict", env={"ZONE": "eu-1"}) == (1, out, err)


def test_without_a_configuration() -> None:
    """Outside of a Pod nothing is found, which is worth a warning."""
    done = inside("check", "--strict")
    assert done.returncode == 1
    assert "config  none: found by convention" in done.stdout
    assert "warning: no volume is found by convention" in done.stderr


def test_a_simulated_change(setup: Setup) -> None:
    """Which instances would be told, by which hooks, and what they would do; nobody is really told."""
    setup.write(
        f'[plugins.bare]\npath = "{setup.root}/bare.py"\n[plugins.tokens]\npath = "{setup.root}/bare.py"\n'
        'match = ["token:*"]\n'
    )
    code, out, _ = setup.check("--simulate", "label:tier=gold", "--simulate", "resource:app.limits.cpu=2")
    assert code == 0
    assert out.splitlines() == [
        "+ label       tier            gold",
        "~ resource    app.limits.cpu  500m → 2",
        "greeter  calls kmetad_on_label, kmetad_on_change",
        "         say hello to 2, last 2",
        "bare     would be told, but has no hook for it",
        "tokens   isn't told: its match is for others",
    ]


def test_simulated_noise(setup: Setup) -> None:
    """What is ignored is said to be."""
    code, out, _ = setup.check("--simulate", "annotation:kubernetes.io/config.seen=now")
    assert code == 0
    assert out.splitlines() == [
        "+ annotation  kubernetes.io/config.seen  now  (noise, by watch.ignore: nobody is told)",
        "greeter  isn't told: its match is for others",
    ]


def test_simulating_what_is_so_already(setup: Setup) -> None:
    """No change, nobody to tell."""
    assert setup.check("--simulate", "label:app=web") == (
        0,
        "nothing would change: that is what there is now\n",
        "",
    )


def test_simulating_without_plugins(setup: Setup) -> None:
    """It says that there is nobody."""
    setup.toml.write_text(f'[volumes.podinfo]\npath = "{setup.root}/podinfo"\n')
    assert setup.check("--simulate", "label:a=b")[1].endswith("no plugin is configured\n")


def test_a_simulate_that_raises(setup: Setup) -> None:
    """It is told, and the others still answer."""
    (setup.root / "greeter.py").write_text(PLUGIN.replace("yield f", "raise ValueError('odd'); yield f"))
    code, out, _ = setup.check("--simulate", "label:a=b")
    assert code == 0
    assert "its simulate raised ValueError: odd" in out


def test_an_app_is_known(setup: Setup) -> None:
    """With a command in the TOML nobody doubts that there is an app, and its environment waits for the variables."""
    setup.write(
        '[run]\ncommand = ["app"]\nstart = "after-sync"\n[plugins.a]\nuse = "reload"\nsignal = "HUP"\n'
        f'[plugins.b]\npath = "{setup.root}/filler.py"\n'
    )
    code, out, err = setup.check("--simulate", "label:a=b")
    assert (code, err) == (0, "")
    assert "send SIGHUP to the app" in out
    assert "b        calls kmetad_app_env" in out


def test_tags_that_reach_no_line(setup: Setup) -> None:
    """Nothing but logtag makes the app's output pass by unasked."""
    tagger = f'[plugins.tagger]\npath = "{setup.root}/tagger.py"\n'
    setup.write(tagger)
    code, _, err = setup.check()
    assert code == 0
    assert "plugins.tagger has tags for the app's log lines (kmetad_log_tags)" in err
    setup.write('[run]\noutput = "tag"\n' + tagger)
    assert "kmetad_log_tags" not in setup.check()[2]
    assert "tagger   calls kmetad_log_tags" in setup.check("--simulate", "label:a=b")[1]


def test_reload_says_what_it_would_run(setup: Setup) -> None:
    """The project's own plugin offers it as any other may."""
    setup.write('[plugins.nginx]\nuse = "reload"\nsignal = "HUP"\npid_file = "/run/nginx.pid"\n')
    assert "HUP" in setup.check("--simulate", "label:a=b")[1]


def test_a_simulation_that_is_no_change(setup: Setup) -> None:
    """Wrong usage: 2."""
    code, out, err = setup.check("--simulate", "labl:tier=gold")
    assert (code, out) == (2, "")
    assert "did you mean label:tier=gold?" in err


def test_a_simulation_with_a_broken_neighbour(setup: Setup) -> None:
    """What can be told is told, beside the error."""
    setup.write('[plugins.nowhere]\nuse = "nowhere"\n')
    code, out, err = setup.check("--simulate", "label:tier=gold")
    assert code == 2
    assert "error: plugins.nowhere" in err
    assert "greeter  calls kmetad_on_label" in out


def test_the_schema() -> None:
    """JSON Schema that knows the tables; no configuration is read for it."""
    done = inside("check", "--schema", "-c", "/nowhere")
    assert (done.stderr, done.returncode) == ("", 0)
    assert {"run", "volumes", "plugins"} <= set(json.loads(done.stdout)["properties"])


def test_the_schema_knows_the_options(tmp_path: Path) -> None:
    """Those of plugins that are installed, and of one that the TOML has by its file; of one that's gone it tells."""
    file, toml = tmp_path / "mine.py", tmp_path / "kmetad.toml"
    file.write_text(
        "import msgspec\nclass Options(msgspec.Struct, frozen=True):\n    word: str\n"
        '    """What to say."""\nclass Plugin:\n    def __init__(self, options): pass\n'
    )
    toml.write_text(f'[plugins.mine]\npath = "{file}"\n[plugins.gone]\npath = "/nowhere.py"\n')
    done = inside("check", "--schema", "-c", str(toml))
    assert done.returncode == 0
    assert done.stderr == "kmetad: plugins.gone.path: /nowhere.py is no file\n"
    plugins = json.loads(done.stdout)
    assert set(plugins["$defs"]) >= {"plugin.reload", "plugin.instance1"}
    assert plugins["properties"]["plugins"]["properties"]["mine"]["else"] == {
        "$ref": "#/$defs/plugin.instance1"
    }
    assert plugins["$defs"]["plugin.instance1"]["properties"]["word"] == {
        "description": "What to say.",
        "type": "string",
    }
