# Daily commands. `just` lists them.
export CARGO_TARGET_DIR := env("CARGO_TARGET_DIR", env("XDG_CACHE_HOME", env("HOME") / ".cache") / "cifer/target")

default:
    @just --list

# Compile everything without running it
check:
    cargo check --workspace --all-targets --all-features

# All tests
test *args:
    ./scripts/test {{args}}

# Format and lint as CI does
lint:
    cargo fmt --all
    cargo clippy --workspace --all-targets --all-features -- -D warnings

# A whole network on this machine
devnet *args:
    ./scripts/devnet {{args}}

# Block latency, round overhead, payload throughput
bench *args:
    ./scripts/bench {{args}}

# What CI runs
ci:
    ./.ci/run
