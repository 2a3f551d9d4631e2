"""The first example of the README does what it says."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[3] / "README.md"


def test_the_ten_lines_handle_all_requests_in_order_and_end() -> None:
    found = re.search(r"^## In ten lines\n.*?^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)
    assert found, "README has no python example under 'In ten lines'"
    ran = subprocess.run([sys.executable, "-c", found[1]], capture_output=True, text=True, check=True, timeout=30)
    notified = [int(number) for number in re.findall(r"\d+", ran.stdout)]

    assert sorted(notified) == list(range(1, 9))
    for thread in range(3):
        assert [n for n in notified if n % 3 == thread] == sorted(n for n in notified if n % 3 == thread)
