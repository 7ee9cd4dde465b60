# How up.sh and down.sh know their processes; sourced. A pid file holds "<pid> <start time>", so that a number
# which the system gave to another process meanwhile is never taken for ours.

started_at() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

start() { # name command...
  local name=$1 pid
  shift
  ( # a lock that the caller holds, or that up.sh does, must not live on in what is started
    for fd in /proc/"$BASHPID"/fd/*; do
      fd=${fd##*/}
      [ "$fd" -le 2 ] || eval "exec $fd>&-"
    done
    exec setsid nohup "$@" >"$LOG/$name.log" 2>&1 </dev/null
  ) &
  pid=$!
  echo "$pid $(started_at "$pid")" >"$ROOT/$name.pid"
}

pid_of() { # name; prints the pid if the process lives
  local pid at
  [ -f "$ROOT/$1.pid" ] || return 1
  read -r pid at <"$ROOT/$1.pid" || return 1
  [ -n "$at" ] && [ "$(started_at "$pid")" = "$at" ] || return 1
  echo "$pid"
}

stop() { # name [seconds]; ends it, by force after that time
  local pid
  if pid=$(pid_of "$1"); then
    kill "$pid" 2>/dev/null
    for _ in $(seq $((${2:-5} * 10))); do
      pid_of "$1" >/dev/null || break
      sleep 0.1
    done
    if pid_of "$1" >/dev/null; then kill -9 "$pid" 2>/dev/null; fi
  fi
  rm -f "$ROOT/$1.pid"
}

# Shims outlive a containerd that was killed; ours are known by the socket in their command line.
shims() {
  local folder
  for folder in /proc/[0-9]*; do
    if { tr '\0' ' ' <"$folder/cmdline"; } 2>/dev/null | grep -q "^[^ ]*containerd-shim[^ ]* .*-address $ROOT/containerd.sock"; then
      basename "$folder"
    fi
  done
}
