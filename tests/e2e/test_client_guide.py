"""Every code block of docs/client.md, against the shared service and its finished search."""

import re
from pathlib import Path
from typing import Any

import pytest

from cli.local_service import Service

GUIDE = Path(__file__).parents[2] / "docs" / "client.md"

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.mark.usefixtures("search")
def test_the_guide_runs_from_its_first_to_its_last_block(
    service: Service,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    text = GUIDE.read_text().replace("http://127.0.0.1:8080", service.url)
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    shared: dict[str, Any] = {"__name__": "guide"}

    for block in blocks:
        exec(compile(block, str(GUIDE), "exec"), shared)  # our own document

    printed = capsys.readouterr().out
    assert len(blocks) > 8
    assert "first succeeded" in printed
    assert "dataset: data set 'unknown' does not exist" in printed
    assert (tmp_path / "best.safetensors").stat().st_size > 0
    assert "<svg" in shared["front"]._repr_html_()
    assert list(shared["frame"]["name"])[:2] == ["base", "0"]
