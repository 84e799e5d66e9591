#!/bin/sh
# The command of the image contentgen-backup: a backup when the newest is older than BACKUP_INTERVAL minutes, each proved
# by a restore into a server of its own before it gets its name. Ends with TERM.
#   contentgen-backup           runs for ever; a backup that fails is tried again after BACKUP_RETRY seconds
#   contentgen-backup once      makes one now, and ends with its exit status
#   contentgen-backup health    0 if the newest backup is younger than two intervals
# BACKUP_NAME is a pattern of date(1), in UTC: %A keeps one for each day of the week, and replaces it a week later.
set -u
folder=${BACKUP_FOLDER:-/backups}
interval=${BACKUP_INTERVAL:-1440}
retry=${BACKUP_RETRY:-600}
name=${BACKUP_NAME:-%A}

younger_than() { # minutes
    [ -n "$(find "$folder" -maxdepth 1 -name '*.backup' -mmin "-$1" -print -quit)" ]
}

file() {
    date -u "+$folder/$name.backup"
}

backup() {
    contentgen-scheduler backup --verify --overwrite "$(file)" &
    wait_for $!
}

wait_for() { # a signal ends the wait, and then what was waited for
    child=$1
    wait "$child"
}

stop() {
    trap - TERM INT
    kill -TERM "$child" 2>/dev/null
    wait "$child"
    exit 0
}

case ${1:-} in
health) younger_than $((2 * interval)) || { echo "no backup in $folder is younger than $((2 * interval)) min" >&2; exit 1; } ;;
once) exec contentgen-scheduler backup --verify --overwrite "$(file)" ;;
"")
    child=
    trap stop TERM INT
    while :; do
        if younger_than "$interval"; then
            sleep 60 &
        elif backup; then
            sleep 1 &
        else
            echo "contentgen-backup: no new backup; the next try is in $retry s" >&2
            sleep "$retry" &
        fi
        wait_for $!
    done
    ;;
*)
    echo "contentgen-backup: $1: there is only once and health" >&2
    exit 2
    ;;
esac
