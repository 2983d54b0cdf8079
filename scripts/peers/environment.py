"""Virtual environments with pinned peers, made once and kept in the user's cache.

A folder is named by the hash of its list of requirements, so a change of versions makes a new one.
"""

import hashlib
import os
import pathlib
import subprocess
import sys
import venv

HERE = pathlib.Path(__file__).resolve().parent
# Numpy's BLAS chooses its kernels by itself; a choice from outside would slow it or change its sums.
BLAS_OVERRIDES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def folder(requirements):
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(cache) / "cifer" / f"peers-{digest}"


def enter(threads=None, requirements="requirements.txt"):
    """Goes on in the environment, made first if it is not there: runs the script again with its Python.

    With `threads`, every library of the peers is held to that many threads.
    """
    requirements = HERE / requirements
    home = folder(requirements)
    python = home / "bin" / "python"
    if pathlib.Path(sys.prefix) == home:
        return
    if not (home / "complete").exists():
        if sys.version_info < (3, 11):
            sys.exit("Python 3.11 or newer is needed for the peers")
        print(f"installing the peers into {home} (once)", file=sys.stderr)
        venv.create(home, with_pip=True, clear=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", requirements], check=True, stdout=sys.stderr)
        (home / "complete").touch()
    environment = {k: v for k, v in os.environ.items() if k not in BLAS_OVERRIDES}
    if threads:
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
        environment.update({name: str(threads) for name in names})
    os.execve(python, [str(python), *sys.argv], environment)


def versions(names=("byzfl", "flwr", "numpy", "scipy", "torch")):
    """What made the numbers."""
    from importlib.metadata import version

    found = {name: version(name) for name in names}
    return {"python": ".".join(map(str, sys.version_info[:3])), **found}
