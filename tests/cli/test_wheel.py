"""What is installed from a wheel is whole: templates, migrations and static files, and it runs anywhere."""

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.live import SERVER

REPOSITORY = SERVER.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sources alone, so that nothing of the checkout's own installation gets in."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "mcpauth", "static", "*.*", "LICENSE"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if not name.removeprefix("tests/clients/").startswith("tests/") and (REPOSITORY / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((REPOSITORY / name).read_bytes())
    build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder), "."]
    subprocess.run([sys.executable, *build], cwd=source, check=True)
    return next(folder.glob("mcpauth-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bin`` of a fresh environment with the wheel; the dependencies are those of the tests."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False, symlinks=True)
    scheme = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", "venv", scheme))
    install = ["-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([sys.executable, *install, str(wheel)], check=True)
    # The checkout is not among them: only site-packages itself, without its .pth files.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def run(installed: Path, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [str(installed / arguments[0]), *arguments[1:]], cwd=folder, env={}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_file_is_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for pattern in (
        "mcpauth/**/*.py",
        "mcpauth/templates/*.html",
        "mcpauth/store/migrations/*.sql",
        "mcpauth/oauth/client_documents/*.json",
        "mcpauth/host/doctor/*.toml",
        "static/**/*.*",
        "tests/clients/*",
    ):
        for path in REPOSITORY.glob(pattern):
            name = str(path.relative_to(REPOSITORY)).removeprefix("tests/")
            assert (name if name.startswith("mcpauth/") else f"mcpauth/{name}") in names
    assert "mcpauth/py.typed" in names
    assert not [name for name in names if name.startswith(("tests", "data", "static"))]


def test_the_command_works_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    assert '"algorithm": "HS256"' in run(installed, tmp_path, "mcpauth", "config")
    where = run(installed, tmp_path, "python", "-c", "import mcpauth; print(mcpauth.__file__)")
    assert where.startswith(str(installed.parent))
    # The migrations are found: this makes a database.
    assert run(installed, tmp_path, "mcpauth", "user", "list", "--json") == "[]\n"
    assert "chatgpt" in run(installed, tmp_path, "mcpauth", "try", "--list")
    assert f'ExecStart="{installed / "python"}" "-m" "mcpauth"' in run(installed, tmp_path, "mcpauth", "systemd")


def test_its_pages_and_static_files_are_found(installed: Path, tmp_path: Path) -> None:
    program = """
from pathlib import Path
from mcpauth import routes
assert {"mcpauth.css", "mcpauth.js", "logo.svg"} <= {path.name for path in Path(routes.static_dir()).iterdir()}
assert Path(routes.static_dir()).parent == Path(routes.__file__).parent
assert (Path(routes.__file__).parent / "templates" / "consent.html").exists()
print("found")
"""
    assert run(installed, tmp_path, "python", "-c", program) == "found\n"
