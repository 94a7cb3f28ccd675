"""The command ``kmetad``, and ``python -m kmetad``.

``run`` goes its own way: it starts the app before it imports what all other
commands are made of.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command that the program's arguments name; answers its exit code."""
    argv = sys.argv[1:]
    if argv[:1] == ["run"]:
        from kmetad._cli.run import start

        code = start(argv[1:])
        if code is not None:
            return code
    from kmetad._cli.main import main as any_command

    return any_command(argv)


if __name__ == "__main__":
    sys.exit(main())
