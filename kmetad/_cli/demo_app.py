"""The demo's app: it greets as its settings say, and reads them again on HUP. No part of kmetad.

Run as a program of its own: ``demo_app.py DIR``.
"""

import json
import os
import signal
import sys
import time


def main(directory: str) -> None:
    """Read the settings, offer a pid file as daemons do, and wait for HUP."""

    def reload(*_: object) -> None:
        with open(f"{directory}/settings/greeting") as file:
            greeting = file.read().strip()
        with open(f"{directory}/app.log", "a") as log:
            log.write(f"the greeting is {greeting!r} now\n")
        with open(f"{directory}/deeds", "a") as deeds:  # a FIFO
            did = {"plugin": "app", "did": f"the app re-read its settings: {greeting}", "ns": time.time_ns()}
            deeds.write(json.dumps({**did, "changes": [["file", "settings/greeting"]]}) + "\n")

    signal.signal(signal.SIGHUP, reload)
    with open(f"{directory}/app.pid.tmp", "w") as file:
        file.write(f"{os.getpid()}\n")
    os.rename(f"{directory}/app.pid.tmp", f"{directory}/app.pid")
    while True:
        signal.pause()


if __name__ == "__main__":
    main(sys.argv[1])
