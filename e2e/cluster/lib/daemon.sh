# Daemons: process id, command and log of each are files in the state's folder.

# start NAME NAMESPACE CMD...
start() {
    local name=$1 namespace=$2
    shift 2
    ! running "$name" || return 0
    printf '%q ' "$namespace" "$@" >"$state/run/$name.command"
    setsid nsenter --net="$(namespace_file "$namespace")" "$@" >>"$state/log/$name.log" 2>&1 </dev/null 9>&- &
    echo $! >"$state/run/$name.pid"
    disown
}

# The process may have ended and its number belong to another: the program must be the one that was started.
running() { # NAME
    local pid program
    pid=$(cat "$state/run/$1.pid" 2>/dev/null) || return 1
    program=$({ tr '\0' '\n' <"/proc/$pid/cmdline" | head -n 1; } 2>/dev/null) || return 1
    [ -n "$program" ] && [[ " $(cat "$state/run/$1.command") setsid nsenter " == *" $program "* ]]
}

stop() { # NAME
    local pid
    running "$1" || return 0
    pid=$(cat "$state/run/$1.pid")
    kill "$pid"
    wait_for 10 "the end of $1" not running "$1" || kill -9 "$pid"
}

kill_now() { # NAME
    ! running "$1" || kill -9 "$(cat "$state/run/$1.pid")"
}

restart() { # NAME
    local command
    command=$(cat "$state/run/$1.command" 2>/dev/null) || fail "no daemon $1; there are: $(daemons | xargs)"
    stop "$1"
    eval "start $1 $command"
}

daemons() { find "$state/run" -name '*.pid' -printf '%f\n' 2>/dev/null | sed 's/\.pid$//' | sort; }

not() { ! "$@"; }

# wait_for SECONDS WHAT CMD...
wait_for() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || { say "waited in vain for $what; logs are in $state/log" && return 1; }
        sleep 0.2
    done
}
