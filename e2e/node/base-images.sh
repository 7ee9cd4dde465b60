#!/bin/bash
# The node's own base images, where no registry can be reached: localhost/python:3.11, a Debian root with Python, and
# localhost/pause:1. Made once (about 30 s), imported into the node whenever it lacks the pause image.
set -euo pipefail
cd "$(dirname "$0")"
. ../settings.sh
SUITE=bookworm
mkdir -p "$ROOT/images/pause"

if ! store inspect --type image localhost/python:3.11 >/dev/null 2>&1; then
  say "making localhost/python:3.11"
  if [ ! -f "$ROOT/images/base.tar" ]; then
    for try in 1 2 3; do
      if mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates $SUITE "$ROOT/images/base.new.tar" \
        >"$ROOT/images/mmdebstrap.log" 2>&1; then break; fi
      [ $try = 3 ] && { tail -20 "$ROOT/images/mmdebstrap.log" >&2; fail "mmdebstrap could not make a Debian root."; }
      say "mmdebstrap failed, trying again"
      sleep $((try * 5))
    done
    mv "$ROOT/images/base.new.tar" "$ROOT/images/base.tar"
  fi
  context=$(mktemp -d "$ROOT/images/context.XXXXXX")
  ln "$ROOT/images/base.tar" "$context/base.tar"
  # the official Python images have a `python`, Debian has none
  cat >"$context/Dockerfile" <<'D'
FROM scratch
ADD base.tar /
RUN ln -s python3 /usr/bin/python
CMD ["python"]
D
  store bud --isolation chroot -q -t localhost/python:3.11 "$context" >/dev/null
  rm -rf "$context"
fi
if ! store inspect --type image localhost/pause:1 >/dev/null 2>&1; then
  cp "$(command -v busybox)" "$ROOT/images/pause/busybox"
  printf 'FROM scratch\nCOPY busybox /busybox\nENTRYPOINT ["/busybox","sleep","2147483647"]\n' >"$ROOT/images/pause/Dockerfile"
  store bud --isolation chroot -q -t localhost/pause:1 "$ROOT/images/pause" >/dev/null
fi
imported localhost/pause:1 || import localhost/pause:1
