#!/usr/bin/env bash
# Gets bench-ci for the action, and says where it is in the output `binary`: one that is there already,
# one built from this checkout, or a release whose checksum stands beside this file.
# Reads INPUT_BINARY and INPUT_VERSION, which may hold anything.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fail() {
  printf '::error title=bench-ci::%s\n' "$1" >&2
  exit 1
}

# A path of one line, which ends no output early, and with a slash, or it would be looked up in PATH.
found() {
  local path=$1
  [[ $path == */* ]] || path=./$path
  [[ -f $path && -x $path && $path != *$'\n'* ]] || fail 'the input binary names no executable file'
  printf 'binary=%s\n' "$path" >>"$GITHUB_OUTPUT"
  exit 0
}

[[ -z ${INPUT_BINARY:-} ]] || found "$INPUT_BINARY"

if [[ ${INPUT_VERSION:-source} == source ]]; then
  # From there, because toolchain and settings are those of the folder that cargo is called in, and the
  # caller's are for the caller's code; a target of its own would also move what is built.
  cd "$here/../.."
  env -u CARGO_BUILD_TARGET cargo build --release --locked --target-dir "${RUNNER_TEMP:?}/bench-ci-build" >&2
  found "$RUNNER_TEMP/bench-ci-build/release/bench-ci"
fi

[[ $INPUT_VERSION =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] ||
  fail 'the input version is neither "source" nor of the form 1.2.3'

case "$(uname -s)-$(uname -m)" in
  Linux-x86_64) target=x86_64-unknown-linux-musl ;;
  Linux-aarch64) target=aarch64-unknown-linux-musl ;;
  Darwin-arm64) target=aarch64-apple-darwin ;;
  *) fail 'there is no release for this machine; the input version "source" builds one' ;;
esac

name="bench-ci-$INPUT_VERSION-$target.tar.gz"
line=$(grep -E "^[0-9a-f]{64}  ${name//./\\.}$" "$here/sha256.txt") ||
  fail "no checksum of $name is in ci/release/sha256.txt of this version of the action"

folder=$(mktemp -d "${RUNNER_TEMP:?}/bench-ci-XXXXXX")
cd "$folder"
curl --proto '=https' --tlsv1.2 --fail --silent --show-error --location --retry 5 --output "$name" \
  "https://github.com/bench-ci/bench-ci/releases/download/v$INPUT_VERSION/$name"
if command -v sha256sum >/dev/null; then check=(sha256sum --check); else check=(shasum -a 256 --check); fi
"${check[@]}" >&2 <<<"$line" || fail "$name is not the file that was released"
tar -xzf "$name" bench-ci
found "$folder/bench-ci"
