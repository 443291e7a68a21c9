#!/bin/sh
# One sync, from where the last one stopped: tap-listrak | a target.
#
#   sync.sh CONFIGS KEPT
#
# CONFIGS is a folder with config.json (the tap's), target.json (the target's, for which there is
# sample_target.json) and catalog.json; without a catalog, the nine published streams are synced.
# What config.json lacks is taken from the environment, so that TAP_LISTRAK_USERNAME and
# TAP_LISTRAK_PASSWORD need not be in a file. KEPT is a folder of this sync's own, made if need be:
# its state.json is replaced by every state that the target prints, so however a run ends, the next
# one resumes from there. TAP and TARGET name the two programs; without them they are in
# environments beside this script. Logs go to stderr. SIGTERM, SIGINT and SIGHUP end a run in good
# order: the tap ends within two seconds, or within 20 if the target is busy, and what it wrote is
# still stored.
#
# Exit codes are the tap's. 2 also says that this script could not begin; 4, that only the target
# failed, or that a state could not be kept; 75, that another sync with the same KEPT is running.
#
# Needs flock and setsid, of util-linux or of busybox.

here=$(dirname "$0")
tap=${TAP:-$here/tap/bin/tap-listrak}
target=${TARGET:-$here/target/bin/target-postgres}
configs=${1:?sync.sh CONFIGS KEPT} kept=${2:?sync.sh CONFIGS KEPT}

say() {
    echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) sync.sh, $kept: $*" >&2
}

# Each state takes the place of the one before as a whole, or not at all.
keep_states() {
    failed=0
    while IFS= read -r state; do
        printf '%s\n' "$state" > "$kept/state.new" && sync "$kept/state.new" &&
            mv "$kept/state.new" "$kept/state.json" || failed=1
    done
    return "$failed"
}

# What the tap gave is stored to its end, whatever signal comes: in a session of its own, the target
# is spared those that go to a whole group.
store() {
    unset TAP_LISTRAK_USERNAME TAP_LISTRAK_PASSWORD # the tap's alone
    exec <&4 4<&- 5>&-
    trap '' TERM INT HUP
    { setsid "$target" --config "$configs/target.json" && : > "$kept/stored"; } | keep_states
}

# Signals interrupt a wait.
exit_code_of() {
    wait "$1"
    code=$?
    while kill -0 "$1" 2> /dev/null; do
        wait "$1"
        code=$?
    done
    return "$code"
}

# Without it, target-postgres would store times in the database's zone.
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
# Tap and target hold the lock too: should this script be killed, it is theirs until they end.
exec 9> "$kept/lock"
# A lock that is held is exit code 1 without a word, of either flock; what else fails, it says.
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

# A pipe without a name, from 5 to 4. In `tap | target` there would be no knowing the tap's id.
rm -f "$kept/stored" "$kept/pipe"
# shellcheck disable=SC2094
mkfifo "$kept/pipe" && exec 3<> "$kept/pipe" 4< "$kept/pipe" 5> "$kept/pipe" 3>&- || exit 2
rm "$kept/pipe"

stopped='' tap_id=''
trap 'stopped=yes; ${tap_id:+kill "$tap_id"} 2> /dev/null' TERM INT HUP
{
    trap '' HUP # which the tap, unlike the other two, does not know
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
