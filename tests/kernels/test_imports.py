"""Importing the ops loads torch, Triton and what they load themselves, and nothing else."""

import subprocess
import sys

PROGRAM = """
import sys
def loaded():
    return {name.split(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
import torch, triton, triton.language
before = loaded()
import fsrcache.kernels
print(*sorted(loaded() - before))
print(*sorted(name for name in sys.modules if name.split(".")[0] == "fsrcache" and "kernels" not in name))
"""


def test_the_ops_load_no_library_but_torch_and_triton():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["fsrcache", "fsrcache fsrcache.errors"]
