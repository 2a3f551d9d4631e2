"""The examples of the README do what they say."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[3] / "README.md"


def example_under(heading: str) -> str:
    pattern = rf"^## {heading}\n.*?^```python\n(.*?)^```"
    found = re.search(pattern, README.read_text(), re.DOTALL | re.MULTILINE)
    assert found, f"README has no python example under {heading!r}"
    return found[1]


def test_the_ten_lines_handle_all_requests_in_order_and_end() -> None:
    example = example_under("In ten lines")
    ran = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, check=True, timeout=30)
    notified = [int(number) for number in re.findall(r"\d+", ran.stdout)]

    assert sorted(notified) == list(range(1, 9))
    for thread in range(3):
        assert [n for n in notified if n % 3 == thread] == sorted(n for n in notified if n % 3 == thread)


def test_the_tests_of_a_user_pass(tmp_path: Path) -> None:
    (tmp_path / "test_mail.py").write_text(example_under("Testing your own"))
    words = [sys.executable, "-m", "pytest", "-q", "-o", "asyncio_mode=auto", "-p", "no:cacheprovider", str(tmp_path)]
    ran = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    assert ran.returncode == 0, ran.stdout
    assert "2 passed" in ran.stdout
