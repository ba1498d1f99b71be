import errno
import json
import os
from pathlib import Path

import pytest

from searchd import artifacts
from searchd.domain.errors import ArtifactError


def test_written_file_reads_back_and_is_described(tmp_path: Path) -> None:
    uri = artifacts.join(str(tmp_path), "searches", "s-1", "student.safetensors")
    stored = artifacts.write(uri, b"weights", name="student")
    assert artifacts.read(stored) == b"weights"
    assert (stored.name, stored.uri, stored.size_bytes) == ("student", uri, 7)
    assert stored.sha256 == ("9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c")
    assert artifacts.exists(uri)


def test_same_code_works_on_another_filesystem() -> None:
    stored = artifacts.write("memory://bucket/a/b", b"x", name="report")
    assert artifacts.read(stored) == b"x"
    artifacts.delete("memory://bucket/a")
    assert not artifacts.exists("memory://bucket/a/b")


def test_failed_write_leaves_the_old_file_and_nothing_half_written(tmp_path: Path) -> None:
    uri = str(tmp_path / "student")
    artifacts.write(uri, b"old", name="student")
    with pytest.raises(TypeError):
        artifacts.write(uri, None, name="student")  # type: ignore[arg-type]  # fails while writing
    assert (tmp_path / "student").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["student"]


def test_write_waits_while_the_store_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refusals = iter([OSError(errno.ENOSPC, "No space left on device"), None])

    def fsync(_descriptor: int) -> None:
        if (refusal := next(refusals)) is not None:
            raise refusal

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(artifacts, "_RETRY_S", 0.0)

    stored = artifacts.write(str(tmp_path / "student"), b"weights", name="student")

    assert artifacts.read(stored) == b"weights"
    assert [path.name for path in tmp_path.iterdir()] == ["student"]
    assert "cannot be written, retrying: [Errno 28] No space left on device" in caplog.text


def test_delete_waits_while_the_store_is_read_only_if_it_is_asked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = iter([OSError(errno.EROFS, "Read-only file system")] * 2)
    remove = os.remove

    def refuse(path: str) -> None:
        if (refusal := next(refusals, None)) is not None:
            raise refusal
        remove(path)

    monkeypatch.setattr(os, "remove", refuse)
    monkeypatch.setattr(artifacts, "_RETRY_S", 0.0)
    (tmp_path / "stop").touch()

    with pytest.raises(OSError, match="Read-only file system"):
        artifacts.delete(str(tmp_path / "stop"))
    artifacts.delete(str(tmp_path / "stop"), waits=True)

    assert not (tmp_path / "stop").exists()


def test_write_to_a_store_that_stays_full_or_refuses_otherwise_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        artifacts.write(str(tmp_path / "file" / "student"), b"weights", name="student")

    def refuse(_descriptor: int) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "fsync", refuse)
    monkeypatch.setattr(artifacts, "WRITE_TIMEOUT_S", 0.0)
    with pytest.raises(OSError, match="Read-only file system"):
        artifacts.write(str(tmp_path / "student"), b"weights", name="student")


def test_damaged_file_is_refused_with_both_checksums(tmp_path: Path) -> None:
    stored = artifacts.write(str(tmp_path / "student"), b"weights", name="student")
    (tmp_path / "student").write_bytes(b"weightz")
    with pytest.raises(ArtifactError, match=f"student is damaged.*expected {stored.sha256}"):
        artifacts.read(stored)


def test_missing_file_is_named(tmp_path: Path) -> None:
    stored = artifacts.write(str(tmp_path / "student"), b"weights", name="student")
    artifacts.delete(str(tmp_path))
    with pytest.raises(ArtifactError, match=r"student is missing: .*/student"):
        artifacts.read(stored)


def test_json_reads_back_and_a_broken_document_is_named(tmp_path: Path) -> None:
    uri = str(tmp_path / "report.json")
    artifacts.write(uri, json.dumps({"ap": 0.5}).encode(), name="report")
    assert artifacts.read_json(uri) == {"ap": 0.5}
    artifacts.write(uri, b"{", name="report")
    with pytest.raises(ArtifactError, match=r"not JSON: .*report\.json"):
        artifacts.read_json(uri)
    with pytest.raises(ArtifactError, match=r"missing: .*nothing\.json"):
        artifacts.read_json(str(tmp_path / "nothing.json"))


def test_chunks_hand_out_the_whole_file(tmp_path: Path) -> None:
    stored = artifacts.write(str(tmp_path / "student"), b"weights", name="student")
    assert list(artifacts.chunks(stored, chunk_bytes=4)) == [b"weig", b"hts"]


def test_chunks_refuses_a_missing_and_a_shorter_file_at_once(tmp_path: Path) -> None:
    stored = artifacts.write(str(tmp_path / "student"), b"weights", name="student")
    (tmp_path / "student").write_bytes(b"we")
    with pytest.raises(ArtifactError, match="has 2 bytes, expected 7"):
        artifacts.chunks(stored)
    (tmp_path / "student").unlink()
    with pytest.raises(ArtifactError, match="student is missing"):
        artifacts.chunks(stored)
