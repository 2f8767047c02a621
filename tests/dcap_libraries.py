"""Compiles the test double of Intel's quoting libraries: ``platforms/dcap_library``."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

SOURCES = Path(__file__).parent / "platforms/dcap_library"


class DcapLibraries(NamedTuple):
    """Where each library is. ``alone``: a libsgx_dcap_ql that is not linked with libsgx_qe3_logic."""

    quoting: Path
    alone: Path
    intel_provider: Path
    azure_provider: Path
    silent_provider: Path
    layout: Path
    """A program that prints the compiler's layout of each structure."""


def find_compiler() -> str | None:
    """The C compiler, if there is one."""
    return shutil.which("cc")


def compile_libraries(compiler: str, directory: Path) -> DcapLibraries:
    """All of them, each under its own name in a directory of its own."""

    def compile_(name: str, *arguments: str) -> Path:
        output = directory / name
        output.parent.mkdir(parents=True, exist_ok=True)
        flags = ["-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function"]
        subprocess.run([compiler, *flags, "-o", output, *arguments], cwd=SOURCES, check=True, timeout=120)
        return output

    def compile_library(name: str, *arguments: str) -> Path:
        return compile_(name, "-shared", "-fPIC", *arguments, "-ldl")

    # No other has a soname: by it the loader would find one that a test has loaded where another asks for Intel's name.
    compile_library("linked/libsgx_qe3_logic.so.1", "-Wl,-soname,libsgx_qe3_logic.so.1", "qe3_logic.c")
    linked = ("-L", str(directory / "linked"), "-l:libsgx_qe3_logic.so.1", "-Wl,-rpath,$ORIGIN")
    provider = "libdcap_quoteprov.so.1"
    return DcapLibraries(
        quoting=compile_library("linked/libsgx_dcap_ql.so.1", "dcap_ql.c", *linked),
        alone=compile_library("alone/libsgx_dcap_ql.so.1", "-DHIDDEN", "dcap_ql.c", "qe3_logic.c"),
        intel_provider=compile_library(f"intel/{provider}", "quote_provider.c"),
        azure_provider=compile_library(f"azure/{provider}", "-DAZURE", "quote_provider.c"),
        silent_provider=compile_library(f"silent/{provider}", "-DSILENT", "quote_provider.c"),
        layout=compile_("layout", "layout.c"),
    )
