"""What the checks have in common."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent


def run(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, **more)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}: {done.stdout}\n{done.stderr}")
    return done.stdout


def settings():
    """Every setting that docs/CONFIG.md has; those that may come from a file also as KEY_FILE."""
    rows = re.findall(r"^\| `([A-Z_]+)`( \*secret\*)?", (ROOT / "docs/CONFIG.md").read_text(), re.M)
    return {name for name, _ in rows} | {f"{name}_FILE" for name, secret in rows if secret}


def unknown(names):
    """Those that are neither settings nor for the AWS SDK nor for TLS."""
    return {n for n in names if n not in settings() and not n.startswith("AWS_") and n != "SSL_CERT_FILE"}
