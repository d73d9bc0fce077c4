"""Runs the adapter, after it has made what is missing: Python's packages in .venv, code out of the protos in gen."""

import os
import pathlib
import subprocess
import sys
import venv

HERE = pathlib.Path(__file__).resolve().parent
ENVIRONMENT = HERE / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"


def install():
    requirements = HERE / "requirements.txt"
    installed = ENVIRONMENT / "installed.txt"
    if installed.exists() and installed.read_bytes() == requirements.read_bytes():
        return
    venv.create(ENVIRONMENT, with_pip=True, clear=True)
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--require-hashes", "--requirement", requirements], check=True)
    installed.write_bytes(requirements.read_bytes())


def generate():
    protos = HERE / "proto"
    generated = HERE / "gen"
    generated.mkdir(exist_ok=True)
    files = sorted(str(file.relative_to(protos)) for file in protos.rglob("*.proto"))
    protoc = [PYTHON, "-m", "grpc_tools.protoc", f"--proto_path={protos}"]
    output = [f"--python_out={generated}", f"--grpc_python_out={generated}"]
    subprocess.run([*protoc, *output, *files], check=True)


install()
generate()
os.execv(PYTHON, [str(PYTHON), str(HERE / "adapter.py"), *sys.argv[1:]])
