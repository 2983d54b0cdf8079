# Sourced by the other scripts: one build folder for all of them, outside the checkout, so that a
# fresh clone, the tests and the devnet share what is already compiled.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/cifer/target}"
cd "$root"
