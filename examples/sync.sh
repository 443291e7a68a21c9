#!/bin/sh
# Run tap-listrak | target once, from where the last run stopped.
#
#   sync.sh CONFIGS KEPT
#
# docs/running.md of tap-listrak describes the two folders, the variables TAP and TARGET, and the
# exit codes. Logs go to stderr. On SIGTERM, SIGINT and SIGHUP the tap ends within two seconds (20 if
# the target is busy), and the target stores what it wrote. Needs flock and setsid, from util-linux
# or busybox.

here=$(dirname "$0")
tap=${TAP:-$here/tap/bin/tap-listrak}
target=${TARGET:-$here/target/bin/target-postgres}
configs=${1:?sync.sh CONFIGS KEPT} kept=${2:?sync.sh CONFIGS KEPT}

say() {
    echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) sync.sh, $kept: $*" >&2
}

# Replace the state file by each new state, atomically.
keep_states() {
    failed=0
    while IFS= read -r state; do
        case $state in
            '{'*'}') ;;
            *) # not shown, since it may hold addresses
                say "ignored a line on the target's stdout that is not a state"
                continue
                ;;
        esac
        printf '%s\n' "$state" > "$kept/state.new" && sync "$kept/state.new" &&
            mv "$kept/state.new" "$kept/state.json" || failed=1
    done
    return "$failed"
}

# Store what the tap wrote, whatever signal comes: in its own session, the target does not get those
# that go to the whole process group.
store() {
    unset TAP_LISTRAK_USERNAME TAP_LISTRAK_PASSWORD # only for the tap
    exec <&4 4<&- 5>&-
    trap '' TERM INT HUP
    { setsid "$target" --config "$configs/target.json" && : > "$kept/stored"; } | keep_states
}

# Wait for a process, also after signals, which interrupt `wait`.
exit_code_of() {
    wait "$1"
    code=$?
    while kill -0 "$1" 2> /dev/null; do
        wait "$1"
        code=$?
    done
    return "$code"
}

# Otherwise target-postgres stores times in the database's zone.
export PGTZ=UTC
for needed in flock setsid; do
    command -v "$needed" > /dev/null || {
        say "$needed is not installed; it is in the package util-linux"
        exit 2
    }
done
for program in "$tap" "$target"; do
    command -v "$program" > /dev/null || {
        say "cannot run $program"
        exit 2
    }
done
umask 077
mkdir -p "$kept" || exit 2
# Tap and target hold the lock too, so it lasts until they end, even if this script is killed.
exec 9> "$kept/lock"
# If the lock is held, flock exits with 1 and prints nothing; it prints all other errors.
trouble=$(flock -n 9 2>&1) || {
    code=$?
    [ "$code:$trouble" != 1: ] || {
        say "skipped: another sync is running"
        exit 75
    }
    say "cannot lock $kept/lock: ${trouble:-flock failed with exit code $code}"
    exit 2
}

set -- --config ENV --config "$configs/config.json"
[ ! -e "$configs/catalog.json" ] || set -- "$@" --catalog "$configs/catalog.json"
[ ! -e "$kept/state.json" ] || set -- "$@" --state "$kept/state.json"

# An unnamed pipe, from 5 to 4. `tap | target` would not give the tap's process ID.
rm -f "$kept/stored" "$kept/pipe"
# shellcheck disable=SC2094
mkfifo "$kept/pipe" && exec 3<> "$kept/pipe" 4< "$kept/pipe" 5> "$kept/pipe" 3>&- || exit 2
rm "$kept/pipe"

stopped='' tap_id=''
trap 'stopped=yes; ${tap_id:+kill "$tap_id"} 2> /dev/null' TERM INT HUP
{
    trap '' HUP # the tap does not handle it, unlike TERM and INT
    exec "$tap" "$@" >&5 4<&- 5>&-
} &
tap_id=$!
store &
store_id=$!
exec 4<&- 5>&-
[ -z "$stopped" ] || kill "$tap_id" 2> /dev/null

exit_code_of "$tap_id"
tap_code=$?
exit_code_of "$store_id" && [ -e "$kept/stored" ]
store_code=$?
[ "$store_code" -eq 0 ] || say "the target failed, or a state could not be kept"
say "the tap ended with exit code $tap_code"
[ "$tap_code" -eq 0 ] || exit "$tap_code"
[ "$store_code" -eq 0 ] || exit 4
