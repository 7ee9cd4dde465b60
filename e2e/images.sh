#!/bin/bash
# Builds the project's three images and loads them into the cluster; does nothing for what has not changed.
# Needs the cluster up (cluster.sh up), but for --no-load. The build takes no network but for the wheels of
# requirements.lock, once. Each image is looked through for files that let a process become more than it is, and its bill
# of materials is laid beside the images' other files.
set -euo pipefail
cd "$(dirname "$0")"
. ./settings.sh
TARGETS="operator runtime simulator"
EPOCH=1767225600   # of all files and layers, so that the same sources make the same images
SOURCES="pyproject.toml README.md operator shard_runtime gateway_hooks discord_simulator"
cluster=$(cluster_kind)

cd "$REPOSITORY"
key=$( (find Dockerfile requirements.lock scripts/image $SOURCES -type f ! -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum
        echo "$cluster $BASE_IMAGE $(for t in $TARGETS; do image_of $t; done)") | sha256sum | cut -d' ' -f1)

wheelhouse() { # the locked wheels for the images' Python, whatever Python this machine runs
  local folder
  folder=$ROOT/images/wheels-$(sha256sum <requirements.lock | cut -c1-16)
  if [ ! -d "$folder" ]; then
    say "fetching the wheels of requirements.lock"
    rm -rf "$folder.new"
    "$python" -m pip download -q --no-deps --require-hashes --only-binary :all: --implementation cp --python-version 3.11 --abi cp311 --abi abi3 --abi none \
      --platform "manylinux_2_28_$(uname -m)" --platform "manylinux_2_17_$(uname -m)" --platform "manylinux2014_$(uname -m)" --platform any \
      -r requirements.lock -d "$folder.new" >&2
    mv "$folder.new" "$folder"
  fi
  echo "$folder"
}

build() { # by buildah, on wheels
  local context=$ROOT/images/context python=$REPOSITORY/.venv/bin/python
  [ -x "$python" ] || fail "there is no .venv; run make install first."
  rm -rf "$context"
  mkdir -p "$context"
  cp -al "$(wheelhouse)" "$context/wheels"
  cp -p Dockerfile .dockerignore requirements.lock pyproject.toml "$context/"
  mkdir "$context/scripts"
  cp -rp scripts/image "$context/scripts/"
  # hatchling is in .venv; a copy, since a build may write beside its sources
  mkdir "$ROOT/images/source"
  cp -r $SOURCES "$ROOT/images/source/"
  "$python" -m pip wheel -q --no-deps --no-build-isolation --no-cache-dir -w "$context/project" "$ROOT/images/source" >&2
  rm -rf "$ROOT/images/source"
  # the first stage by a name of its own, so that it and the layers below it stay when older images are cleared away
  bud() { store bud --isolation chroot --layers -q --timestamp "$EPOCH" --build-arg "BASE_IMAGE=$BASE_IMAGE" --target "$1" -t "$2" "$context" >/dev/null; }
  bud wheels localhost/discord-gateway-wheels
  for target in $TARGETS; do bud "$target" "$(image_of "$target")"; done
  store rmi --prune --force >/dev/null 2>&1 || true
}

checked() { # its bill of materials out of the image $1, and a look through its files
  local image container folder status=0
  image=$(image_of "$1") container=check-$1
  store rm "$container" >/dev/null 2>&1 || true
  store from --pull-never --name "$container" "$image" >/dev/null
  folder=$(store mount "$container")
  cp "$folder/usr/share/sbom/$1.cdx.json" "$ROOT/images/"
  tar -C "$folder" -c --xattrs --xattrs-include='*' --one-file-system . | "$REPOSITORY/.venv/bin/python" scripts/image/scan.py "$1" || status=1
  store rm "$container" >/dev/null
  return $status
}

mkdir -p "$ROOT/images"
exec 8>"$ROOT/images.lock"
flock 8
if [ "$cluster" = kind ]; then
  for target in $TARGETS; do
    docker build -q --target "$target" -t "$(image_of "$target")" . >/dev/null
    container=$(docker create "$(image_of "$target")")
    docker cp "$container:/usr/share/sbom/$target.cdx.json" "$ROOT/images/" >/dev/null
    found=0
    docker export "$container" | .venv/bin/python scripts/image/scan.py "$target" || found=1
    docker rm "$container" >/dev/null
    [ $found = 0 ] || fail "the image $target has files that it should not have."
    kind load docker-image --name "$KIND_NAME" "$(image_of "$target")"
  done
  echo "$key" >"$ROOT/images/loaded"
  exit 0
fi
if [ "$(cat "$ROOT/images/built" 2>/dev/null)" != "$key" ]; then
  say "building images"
  rm -rf "$ROOT/images/source"
  build
  for target in $TARGETS; do checked "$target" || fail "the image $target has files that it should not have."; done
  echo "$key" >"$ROOT/images/built"
  rm -f "$ROOT/images/loaded"
fi
[ "${1:-}" != --no-load ] || exit 0
stale=$([ "$(cat "$ROOT/images/loaded" 2>/dev/null)" = "$key" ] || echo yes)
for target in $TARGETS; do
  if [ -n "$stale" ] || ! imported "$(image_of "$target")"; then import "$(image_of "$target")"; fi
done
echo "$key" >"$ROOT/images/loaded"
for target in $TARGETS; do image_of "$target"; done
