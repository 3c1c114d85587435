"""Builder of libyoj: C from cffi, through the machine's compiler, into a folder with the headers."""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from yoj.runtime.errors import YojError
from yoj.runtime.version import __version__

HERE = Path(__file__).parent
HEADERS = ("yoj.h", "yoj.hpp")
LIBRARY = "libyoj.so"
COMPILERS = ("cc", "gcc", "clang")
TYPES = re.compile(r"types: begin \*/(.*)/\* types: end", re.DOTALL)
"""Part of ``yoj.h`` that cffi, which knows no preprocessor, can read."""
CALLS = """
extern "Python" {
    int yoj_py_load(const char *bundle, const yoj_options *options, yoj_scorer *scorer);
    int yoj_py_score(yoj_scorer scorer, const char *request, char **judgement);
    int yoj_py_score_rgb(yoj_scorer scorer, const yoj_request *request, yoj_result *result);
    int yoj_py_free(yoj_scorer scorer);
}
const char *yoj_version(void);
void yoj_keep_error(const char *text);
void yoj_keep_start_error(int code, const char *text);
void *malloc(size_t size);
"""
START = """
from _libyoj import ffi, lib
try:
    from yoj.serving.native._embedded import bind
    bind(ffi, lib)
except BaseException as error:
    import sys
    yoj, python = ffi.string(lib.yoj_version()).decode(), "%d.%d" % sys.version_info[:2]
    text = (
        f"{sys.executable} has no yoj that works: {type(error).__name__}: {error}. Install it there with pip install "
        f"'yoj[native,ort]=={yoj}', or set YOJ_PYTHON to the interpreter of another environment of Python {python}."
    )
    lib.yoj_keep_start_error(lib.YOJ_ERROR_PYTHON, text.encode("utf-8", "backslashreplace"))
"""
"""Python that runs once, when C enters Python for the first time."""


class NativeError(YojError, RuntimeError):
    """Library that cannot be built here."""


@dataclass(frozen=True)
class Python:
    """Python for which the library is built."""

    executable: str
    """Interpreter of the environment, which the library uses unless ``YOJ_PYTHON`` names another."""
    include: Path
    library: Path
    """Shared library of the interpreter, under its soname."""


def build(out: Path) -> list[Path]:
    """Build the library for this Python and write it with its headers.

    Args:
        out: folder, which is made where it is missing; files of the same names are replaced.

    Returns:
        Files that were written.

    Raises:
        NativeError: cffi, a C compiler, Python's headers or its shared library is missing, or the compiler failed.
    """
    if sys.platform != "linux":
        raise NativeError(f"libyoj is built for Linux only, and this is {sys.platform}. Use yoj-serve http there.")
    python, compiler = find_python(), find_compiler()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as folder:
        source, library = Path(folder) / "_libyoj.c", Path(folder) / LIBRARY
        _write_source(source, python)
        _compile([*compiler, *_flags(python), str(source), "-o", str(library), *_links(python)])
        library.replace(out / LIBRARY)  # not written in place: a running program may have mapped the old one
    for header in HEADERS:
        shutil.copyfile(HERE / header, out / header)
    (out / "libyoj.pc").write_text(_pkg_config(), "utf-8")
    return [out / name for name in (LIBRARY, *HEADERS, "libyoj.pc")]


def find_python() -> Python:
    """Find the headers and the shared library of this Python.

    Raises:
        NativeError: one of them is missing.
    """
    include = Path(sysconfig.get_path("include"))
    version = sysconfig.get_python_version()
    if not (include / "Python.h").is_file():
        raise NativeError(
            f"There is no Python.h in {include}. Install Python's headers, such as Debian's python{version}-dev."
        )
    soname = str(sysconfig.get_config_var("INSTSONAME") or "")
    if not sysconfig.get_config_var("Py_ENABLE_SHARED") or ".so" not in soname:
        raise NativeError(
            f"{sys.executable} has no shared libpython{version}.so, which libyoj links. Use a Python that has: "
            "a distribution's, or one built with --enable-shared (pyenv: "
            "PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install)."
        )
    # The place that a Python was built for is not always the one that it was unpacked to.
    folders = [Path(str(sysconfig.get_config_var("LIBDIR"))), Path(sys.base_prefix) / "lib"]
    found = next((folder / soname for folder in folders if (folder / soname).is_file()), None)
    if found is None:
        raise NativeError(
            f"There is no {soname} in {' or '.join(map(str, folders))}. Install it, such as Debian's "
            f"libpython{version}."
        )
    return Python(os.path.abspath(sys.executable), include, found)


def find_compiler() -> list[str]:
    """Command of the C compiler: ``CC``, or else the first of `COMPILERS` that is installed.

    Raises:
        NativeError: there is none.
    """
    given = shlex.split(os.environ.get("CC", ""))
    if given:
        if shutil.which(given[0]) is None:
            raise NativeError(f"CC is {given[0]!r}, which is no command here. Set it to a C compiler, or unset it.")
        return given
    found = next((name for name in COMPILERS if shutil.which(name)), None)
    if found is None:
        raise NativeError(
            f"There is no C compiler ({', '.join(COMPILERS)}). Install one, such as Debian's gcc, or name it in CC."
        )
    return [found]


def _write_source(file: Path, python: Python) -> None:
    try:
        from cffi import FFI
    except ImportError as error:
        raise NativeError(f"cffi is missing ({error}). Install it with: pip install 'yoj[native]'") from error
    types = TYPES.search((HERE / "yoj.h").read_text("utf-8"))
    assert types is not None
    defined = {
        "BUILT_VERSION": __version__,
        "BUILT_PYTHON": python.executable,
        "BUILT_LIBPYTHON": python.library.name,
    }
    lines = [f"#define {name} {_c_string(value)}" for name, value in defined.items()]
    ffi = FFI()
    ffi.cdef(types[1] + CALLS)
    ffi.embedding_api("")
    ffi.embedding_init_code(START)
    ffi.set_source("_libyoj", "\n".join([*lines, (HERE / "libyoj.c").read_text("utf-8")]))
    with redirect_stdout(io.StringIO()):  # cffi prints the name of a file that the user never sees
        ffi.emit_c_code(str(file))


def _c_string(text: str) -> str:
    """Literal of a text in C, with each byte that is no plain letter as an octal escape."""
    plain = (chr(byte) if chr(byte).isalnum() and byte < 128 else f"\\{byte:03o}" for byte in os.fsencode(text))
    return f'"{"".join(plain)}"'


def _flags(python: Python) -> list[str]:
    return ["-shared", "-fPIC", "-O2", "-pthread", "-fvisibility=hidden", f"-I{python.include}", f"-I{HERE}"]


def _links(python: Python) -> list[str]:
    # Python cannot be taken out of a process, so that the library stays when the host closes it.
    linker = ["-soname", LIBRARY, "-rpath", str(python.library.parent), "-z", "nodelete"]
    return [str(python.library), "-ldl", *(f"-Wl,{part}" for part in _pairs(linker))]


def _pairs(words: Sequence[str]) -> list[str]:
    return [f"{name},{value}" for name, value in zip(words[::2], words[1::2], strict=True)]


def _compile(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise NativeError(f"The C compiler failed with status {done.returncode}: {shlex.join(command)}\n{done.stderr}")


def _pkg_config() -> str:
    lines = [
        "libdir=${pcfiledir}",
        "Name: libyoj",
        "Description: Multi-response reward models in the process of the host",
        f"Version: {__version__}",
        "Cflags: -I${pcfiledir}",
        "Libs: -L${libdir} -lyoj -Wl,-rpath,${libdir}",
    ]
    return "\n".join(lines) + "\n"
