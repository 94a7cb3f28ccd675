"""What the demo's rules run: says what somebody's own command might do. No part of kmetad.

Run as a program of its own, ``act.py DIR RULE``, with the changes as JSON on
standard input, one a line.
"""

import json
import sys
import time


def main(directory: str, rule: str) -> None:
    """Read the changes; report what was done about them."""
    changes = [json.loads(line) for line in sys.stdin]
    did = "; ".join(sentence(rule, change) for change in changes)
    keys = [[change["type"], change["key"]] for change in changes]
    with open(f"{directory}/deeds", "a") as deeds:  # a FIFO
        deeds.write(json.dumps({"plugin": rule, "did": did, "changes": keys, "ns": time.time_ns()}) + "\n")
    print(did)  # into kmetad's log


def sentence(rule: str, change: dict[str, str]) -> str:
    """What is done about one change."""
    key, new = change["key"], change["new"]
    if rule == "session":
        return "logged in again with the new token"
    if rule == "limits":
        return f"sized the worker pool for {new or 'no limit'}"
    return f"told the load balancer: {key}={new}" if new else f"told the load balancer: no {key} any more"


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
