"""Runs every script, each in a process of its own; exits with the first failure."""

import pathlib
import subprocess
import sys

for name in ("images", "chat", "errors"):
    script = pathlib.Path(__file__).with_name(f"{name}.py")
    # The SDK warns that OpenAI itself has given up variations; compatible servers have not.
    if subprocess.run([sys.executable, "-B", "-W", "ignore::DeprecationWarning", str(script)]).returncode:
        sys.exit(f"FAILED {name}.py")
