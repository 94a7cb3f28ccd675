#!/usr/bin/env bash
# Kills kmetad's daemon again and again, at random moments, while apps write numbered lines.
# Not a line may be lost or doubled, and the apps may notice nothing. A daemon that ends soon
# after its start is waited for longer each time, so several apps at once have fewer kills each.
#
# usage: kill_daemon.sh [APPS [KILLS]] -- kmetad run [OPTIONS]      (50 kills: 10 apps, 5 each)
set -euo pipefail

apps=10 kills=5
if [ "$1" != -- ]; then apps=$1; shift; fi
if [ "$1" != -- ]; then kills=$1; shift; fi
shift

at=$(mktemp -d)
trap 'rm -rf "$at"' EXIT

# The app counts until it gets a TERM. It would tell of any other signal.
# shellcheck disable=SC2016
app='
parent=$PPID number=0
mkfifo "$1"; exec 3<>"$1"
trap "exit 42" TERM
for signal in HUP INT QUIT USR1 USR2 CHLD CONT PIPE; do trap "echo $signal" "$signal"; done
while [ "$PPID" = "$parent" ]; do
    echo $((number += 1))
    read -r -t 0.002 -u 3 || true
done'

daemon_of() { # PID of kmetad
    local child
    for child in $(cat "/proc/$1/task/$1/children"); do
        if grep -qs kmetad._daemon "/proc/$child/cmdline"; then
            echo "$child"
            return
        fi
    done
}

alive() { # PID of kmetad, its standard error
    kill -0 "$1" || { cat "$2" >&2; exit 1; }
}

torment() { # NUMBER of the app, kmetad run …
    local out="$at/$1.out" err="$at/$1.err" fifo="$at/$1.fifo" kmetad daemon killed=0 code=0
    shift
    "$@" -- bash -c "$app" app "$fifo" >"$out" 2>"$err" &
    kmetad=$!
    while [ "$killed" -lt "$kills" ]; do
        until daemon=$(daemon_of "$kmetad") && [ -n "$daemon" ]; do
            alive "$kmetad" "$err"
            sleep 0.01
        done
        sleep "0.$((RANDOM % 6))$((RANDOM % 10))" # somewhere between its first import and its rest
        kill -KILL "$daemon"
        killed=$((killed + 1))
        until [ "$(grep -c '^kmetad: the daemon was ended by SIGKILL' "$err")" = "$killed" ]; do
            alive "$kmetad" "$err"
            sleep 0.01
        done
    done
    kill -TERM "$kmetad"
    wait "$kmetad" || code=$?
    if [ "$code" != 42 ]; then
        echo "the app's exit code is 42, kmetad's was $code" >&2
        cat "$err" >&2
        return 1
    fi
    if [ ! -s "$out" ] || ! cmp "$out" <(seq "$(wc -l <"$out")") >&2; then
        return 1
    fi
    wc -l <"$out"
}

waiting=()
for ((number = 0; number < apps; number++)); do
    torment "$number" "$@" &
    waiting+=($!)
done
failed=0
for pid in "${waiting[@]}"; do
    wait "$pid" || failed=1
done
exit "$failed"
