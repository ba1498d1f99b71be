"""A port that is taken is reported before anything of `searchd up` starts, with who uses it."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import ports
from cli.local_service import Service
from searchd.domain.errors import ConflictError, InvalidValueError
from tests.api.service import Service as Api
from tests.cli.conftest import Run

pytestmark = pytest.mark.timeout(60)  # the first test imports Ray


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which this process listens, without answering."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_a_port_that_another_program_uses_is_refused_with_its_name(taken: int) -> None:
    with pytest.raises(
        ConflictError, match=rf"port {taken} of 127\.0\.0\.1 is in use by another"
    ) as e:
        ports.check_free("127.0.0.1", taken)

    assert f"process {os.getpid()}); use that one, or choose another port with --port" in str(
        e.value
    )


def test_a_port_taken_on_every_address_is_refused() -> None:
    with (
        socket.create_server(("0.0.0.0", 0)) as listening,
        pytest.raises(ConflictError, match="is in use"),
    ):
        ports.check_free("127.0.0.1", listening.getsockname()[1])


def test_a_free_port_is_accepted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        free = listening.getsockname()[1]

    ports.check_free("127.0.0.1", free)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(InvalidValueError, match=r"SEARCHD_API_HOST=192\.0\.2\.1 is not an address"):
        ports.check_free("192.0.2.1", 8080)


def test_nothing_starts_at_the_port_of_another_searchd(service: Api, tmp_path: Path) -> None:
    port = int(service.url.rpartition(":")[2])
    own = Service(tmp_path / "data", api_port=port)

    with pytest.raises(
        ConflictError, match=f"port {port} of 127.0.0.1 is in use by another searchd"
    ):
        own.start()

    assert not (tmp_path / "data/searchd.sqlite").exists()
    assert list((tmp_path / "data/logs").iterdir()) == []


def test_up_ends_with_one_sentence_if_the_port_is_taken(
    offline: Run, service: Api, tmp_path: Path
) -> None:
    port = service.url.rpartition(":")[2]

    result = offline("up", "--data-folder", tmp_path / "data", "--port", port)

    assert result.exit_code == 1
    assert result.stderr == (
        f"error: port {port} of 127.0.0.1 is in use by another searchd; use that one, or choose "
        "another port with --port or SEARCHD_API_PORT\n"
    )


def test_the_api_of_another_searchd_is_not_taken_for_the_own_one(
    service: Api, tmp_path: Path
) -> None:
    own = Service(tmp_path / "data", api_port=int(service.url.rpartition(":")[2]))

    assert ports.identity(service.url) == {"status": "ok", "instance": ""}
    assert not own._api_is_ours()


def test_a_program_that_is_no_searchd_has_no_identity(taken: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        free = listening.getsockname()[1]

    assert ports.identity(f"http://127.0.0.1:{free}") is None
    assert ports.identity(f"http://127.0.0.1:{taken}") is None
