import subprocess
import sys
from types import ModuleType

import tocsin


def test_all_is_sorted_and_is_what_the_package_holds() -> None:
    public = [
        name for name, value in vars(tocsin).items() if not name.startswith("_") and not isinstance(value, ModuleType)
    ]
    assert tocsin.__all__ == sorted(public)


def test_importing_the_package_loads_no_client_library() -> None:
    program = (
        "import sys, tocsin; print([m for m in ('kafka', 'httpx', 'torch', 'numpy', 'asyncio') if m in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert loaded.strip() == "[]"
