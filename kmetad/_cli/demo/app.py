"""The demo's app: it greets as its settings say, and logs JSON lines at the level that it is told. No part of kmetad.

Run as a program of its own: ``app.py DIR``. On HUP it reads its settings again, on USR1 its level.
"""

import json
import logging
import os
import signal
import sys
import time

_BETWEEN = 0.3
"""Seconds from one line to the next."""


def main(directory: str) -> None:
    """Read the settings, offer a pid file as daemons do, and wait for signals."""
    form = '{"level":"%(levelname)s","msg":"%(message)s"}'
    logging.basicConfig(stream=sys.stdout, level="INFO", format=form)

    def report(rule: str, did: str, *change: str) -> None:
        told = {"plugin": rule, "did": did, "changes": [change], "ns": time.time_ns()}
        with open(f"{directory}/deeds", "a") as deeds:  # a FIFO
            deeds.write(json.dumps(told) + "\n")

    def read_settings(*_: object) -> None:
        with open(f"{directory}/settings/greeting") as file:
            greeting = file.read().strip()
        logging.info("the greeting is %s now", greeting)
        report("app", f"the app re-read its settings: {greeting}", "file", "settings/greeting")

    def read_level(*_: object) -> None:
        with open(f"{directory}/log-level") as file:
            level = file.read().strip()
        logging.getLogger().setLevel(level.upper())
        logging.debug("this line is only for those who asked for it")
        did = f"process {os.getpid()} logs at {level} now, with no restart"
        report("log-level", did, "annotation", "log-level")

    signal.signal(signal.SIGHUP, read_settings)
    signal.signal(signal.SIGUSR1, read_level)
    with open(f"{directory}/app.pid.tmp", "w") as file:
        file.write(f"{os.getpid()}\n")
    os.rename(f"{directory}/app.pid.tmp", f"{directory}/app.pid")
    while True:
        time.sleep(_BETWEEN)
        logging.info("served a request")


if __name__ == "__main__":
    main(sys.argv[1])
