"""The check of a GPU ends each part in time, whatever it does, and goes on with the next."""

import os
import time
from pathlib import Path

import psutil
import pytest

from scripts.gpu_check import Part, parts_of, run

SLEEPS = "import time; time.sleep(99)"
CHILD = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', '{SLEEPS}'])"


def part(code: str) -> Part:
    return Part(name="one", command=["-c", code], limit_s=1)


@pytest.mark.parametrize(
    ("code", "ended"), [("print('fine')", "passed"), ("raise SystemExit(3)", "failed")]
)
def test_a_part_says_how_it_ended(code: str, ended: str, tmp_path: Path) -> None:
    assert run(part(code), "cpu", tmp_path, 30) == ended


def test_output_and_device_of_a_part_are_in_its_file(tmp_path: Path) -> None:
    run(part("import os; print(os.environ['SEARCHD_TEST_DEVICE'])"), "cuda", tmp_path, 30)

    assert (tmp_path / "one.txt").read_text() == "cuda\n"


@pytest.mark.timeout(60)  # a part that hangs is given seconds to end
def test_a_part_that_is_too_slow_is_interrupted_so_that_it_can_clean_up(tmp_path: Path) -> None:
    code = "import time\ntry:\n    time.sleep(99)\nexcept KeyboardInterrupt:\n    print('clean')"
    started = time.monotonic()

    assert run(part(code), "cpu", tmp_path, 3) == "too slow"

    assert time.monotonic() - started < 40
    assert (tmp_path / "one.txt").read_text() == "clean\n"


@pytest.mark.timeout(60)
def test_nothing_that_a_part_started_is_left(tmp_path: Path) -> None:
    run(part(f"{CHILD}; import os; print(os.getpid())"), "cpu", tmp_path, 30)

    group = int((tmp_path / "one.txt").read_text())
    killed = [each for each in psutil.process_iter() if _is_in(each.pid, group)]
    _, left = psutil.wait_procs(killed, timeout=10)
    assert [each for each in left if each.status() != "zombie"] == []


def _is_in(process: int, group: int) -> bool:
    try:
        return os.getpgid(process) == group
    except ProcessLookupError:
        return False


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_all_parts_fit_into_eight_minutes(device: str) -> None:
    assert sum(each.limit_s for each in parts_of(device)) == 480
