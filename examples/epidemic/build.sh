#!/bin/sh
# Builds person.wasm from person.c, with clang and lld (Debian: apt-get install clang lld).
# A stack of half a KiB comes first, so that a person needs no more than 1 KiB of memory.
set -eu
cd "$(dirname "$0")"
clang --target=wasm32 -O2 -Wall -Wextra -Werror -nostdlib -ffreestanding \
    -Wl,--no-entry -Wl,--stack-first -Wl,-z,stack-size=512 -Wl,--strip-all \
    -Wl,--initial-memory=65536 -o "${1:-person.wasm}" person.c
