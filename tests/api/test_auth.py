"""Who may call the API: tokens, roles, owners, this machine alone, rates, paths."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from fastapi import FastAPI

from api.app import create_app
from api.auth import OPEN_PATHS, Rules
from api.client import ApiError, Client
from searchd.domain.errors import InvalidValueError
from searchd.settings import Settings
from searchd.spec import BaseSpec, MethodSpec, MethodsSpec, MmdetSpec, SearchSpec
from searchd.store import Database, Role, upgrade
from searchd.store.base import Base
from searchd.store.resources import tokens
from searchd.store.work import queue
from tests.api.service import serve
from tests.searchd.store.factories import (
    add_dataset,
    add_pool,
    add_search,
    dataset_spec,
    pool_spec,
    search_spec,
)

LOCAL = "http://127.0.0.1:8080"


@dataclass(frozen=True)
class App:
    """Calls an app without a socket."""

    app: FastAPI

    @classmethod
    def on(cls, database: Database, **rules: Any) -> "App":
        return cls(create_app(database, Rules(**rules)))

    def call(
        self, method: str, path: str, secret: str | None = None, **options: Any
    ) -> httpx.Response:
        headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        headers |= options.pop("headers", {})
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)

        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=transport) as http:
                return await http.request(method, LOCAL + path, headers=headers, **options)

        return anyio.run(ask)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.call("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.call("POST", path, **options)


@dataclass(frozen=True)
class Guarded:
    """An app that asks for tokens, and the secret of one for each role."""

    database: Database
    app: App
    secrets: dict[str, str]

    def call(
        self, method: str, path: str, who: str | None = None, **options: Any
    ) -> httpx.Response:
        secret = None if who is None else self.secrets.get(who, who)
        return self.app.call(method, path, secret, **options)

    def with_rules(self, **rules: Any) -> "Guarded":
        return replace(self, app=App.on(self.database, tokens_needed=True, **rules))


@pytest.fixture(scope="module")
def shared_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with _database(tmp_path_factory.mktemp("auth")) as opened:
        yield opened


@contextmanager
def _database(folder: Path) -> Iterator[Database]:
    url = f"sqlite:///{folder / 'searchd.sqlite'}"
    upgrade(url)
    opened = Database(url)
    yield opened
    opened.close()


@pytest.fixture
def database(shared_database: Database) -> Database:
    """An empty one."""
    with shared_database.connect() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())
    return shared_database


@pytest.fixture(scope="module")
def guarded_app(shared_database: Database) -> App:
    return App.on(shared_database, tokens_needed=True, data_roots=(Path("/data"),))


@pytest.fixture
def guarded(database: Database, guarded_app: App) -> Guarded:
    return Guarded(database, guarded_app, _create_tokens(database))


def _create_tokens(database: Database) -> dict[str, str]:
    roles = {"rea": Role.READ, "sam": Role.SUBMIT, "sue": Role.SUBMIT, "ada": Role.ADMIN}
    with database.write() as session:
        return {name: tokens.create(session, name, role) for name, role in roles.items()}


@pytest.fixture
def unguarded(database: Database) -> App:
    return App.on(database)


def _problem(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == response.status_code
    return response.status_code, response.json()["type"].removeprefix("urn:searchd:problem:")


# Tokens


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/searches",
        "/api/v1/searches/x/events",
        "/api/v1/nothing",
        "/openapi.json",
        "/docs",
        "/nothing",
        "//healthz",
        "/healthz/../api/v1/searches",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_nothing_is_answered_without_a_token(guarded: Guarded, method: str, path: str) -> None:
    response = guarded.call(method, path)
    assert _problem(response) == (401, "unauthenticated")
    assert response.headers["www-authenticate"] == 'Bearer realm="searchd"'
    assert "searchd token create" in response.json()["detail"]


def test_health_and_the_files_of_the_page_are_open(guarded: Guarded) -> None:
    assert {path: guarded.call("GET", path).status_code for path in OPEN_PATHS} == dict.fromkeys(
        OPEN_PATHS, 200
    )


def test_every_file_of_the_page_is_open() -> None:
    page = Path("api/web")
    files = {f"/{file.relative_to(page)}" for file in page.rglob("*") if file.is_file()}
    assert "/vendor/preact.mjs" in files
    assert files <= OPEN_PATHS


@pytest.mark.parametrize(
    "header", ["Bearer searchd_guessed", "Bearer ", "Basic cmVhOnJlYQ==", "searchd_guessed", ""]
)
def test_a_wrong_token_is_refused(guarded: Guarded, header: str) -> None:
    response = guarded.call("GET", "/api/v1/searches", headers={"Authorization": header})
    assert _problem(response) == (401, "unauthenticated")


def test_an_unknown_token_is_named_as_such(guarded: Guarded) -> None:
    response = guarded.call("GET", "/api/v1/searches", "searchd_guessed")
    assert response.headers["www-authenticate"].endswith('error="invalid_token"')
    assert "searchd_guessed" not in response.text


def test_a_token_in_the_address_counts_for_nothing(guarded: Guarded) -> None:
    params = {"token": guarded.secrets["ada"], "access_token": guarded.secrets["ada"]}
    assert guarded.call("GET", "/api/v1/searches", params=params).status_code == 401


def test_a_revoked_token_is_refused_from_the_next_call_on(guarded: Guarded) -> None:
    assert guarded.call("GET", "/api/v1/searches", "ada").status_code == 200
    with guarded.database.write() as session:
        tokens.revoke(session, "ada")
    assert guarded.call("GET", "/api/v1/searches", "ada").status_code == 401


def test_a_use_is_written_down_once_in_a_while(guarded: Guarded) -> None:
    def used() -> object:
        with guarded.database.read() as session:
            return {token.name: token.last_used_at for token in tokens.every(session)}["rea"]

    assert used() is None
    guarded.call("GET", "/api/v1/searches", "rea")
    first = used()
    guarded.call("GET", "/api/v1/searches", "rea")
    assert first is not None
    assert used() == first


# Roles


@pytest.mark.parametrize(
    ("who", "allowed"), [("rea", False), ("sam", True), ("sue", True), ("ada", True)]
)
def test_only_submit_and_admin_may_create(guarded: Guarded, who: str, allowed: bool) -> None:
    body = dataset_spec().model_dump(mode="json")
    response = guarded.call("POST", "/api/v1/datasets", who, json=body)
    if allowed:
        assert (response.status_code, response.json()["owner"]) == (201, who)
        return
    assert _problem(response) == (403, "forbidden")
    assert 'error="insufficient_scope", scope="submit"' in response.headers["www-authenticate"]
    assert response.json()["detail"] == "token 'rea' has role read; this call needs submit"


@pytest.mark.parametrize("who", ["rea", "sam", "ada"])
def test_every_role_may_look_at_everything(guarded: Guarded, who: str) -> None:
    add_search(guarded.database)
    for path in ("searches", "searches/first", "pools/teachers", "datasets/shapes"):
        assert guarded.call("GET", f"/api/v1/{path}", who).status_code == 200
    assert guarded.call("GET", "/openapi.json", who).status_code == 200


# Owners


def _submit(guarded: Guarded, who: str, noun: str) -> None:
    add_dataset(guarded.database)
    add_pool(guarded.database)
    spec = search_spec("mine") if noun == "searches" else pool_spec("mine")
    body = spec.model_dump(mode="json")
    assert guarded.call("POST", f"/api/v1/{noun}", who, json=body).json()["owner"] == who


@pytest.mark.parametrize("noun", ["searches", "pools"])
@pytest.mark.parametrize(
    ("who", "status"), [("rea", 403), ("sue", 403), ("sam", 202), ("ada", 202)]
)
def test_only_the_owner_and_admins_may_cancel(
    guarded: Guarded, noun: str, who: str, status: int
) -> None:
    _submit(guarded, "sam", noun)
    response = guarded.call("POST", f"/api/v1/{noun}/mine/cancel", who)
    assert response.status_code == status
    with guarded.database.read() as session:
        resource_id = guarded.call("GET", f"/api/v1/{noun}/mine", "rea").json()["id"]
        desired = queue.of_resource(session, resource_id).desired
    assert desired == ("cancel" if status == 202 else "run")


def test_a_refused_cancel_names_the_owner_and_the_role_it_takes(guarded: Guarded) -> None:
    _submit(guarded, "sam", "searches")
    response = guarded.call("POST", "/api/v1/searches/mine/cancel", "sue")
    assert _problem(response) == (403, "forbidden")
    assert response.json()["detail"] == (
        "mine belongs to sam; token 'sue' with role submit may only change its own resources, "
        "role admin all"
    )


def test_what_was_created_without_tokens_is_the_admins_alone(guarded: Guarded) -> None:
    add_search(guarded.database)
    assert guarded.call("POST", "/api/v1/searches/first/cancel", "sam").status_code == 403
    assert guarded.call("POST", "/api/v1/searches/first/cancel", "ada").status_code == 202


def test_an_idempotency_key_is_not_shared(guarded: Guarded) -> None:
    body, key = dataset_spec().model_dump(mode="json"), {"Idempotency-Key": "k"}
    calls = [
        guarded.call("POST", "/api/v1/datasets", who, json=body, headers=key)
        for who in ("sam", "sam", "sue")
    ]
    assert [call.status_code for call in calls] == [201, 201, 409]


# Without authentication


def test_without_authentication_nothing_has_an_owner(unguarded: App) -> None:
    created = unguarded.post("/api/v1/datasets", json=dataset_spec().model_dump(mode="json"))
    assert (created.status_code, created.json()["owner"]) == (201, None)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:1234"}, 200),
        ({"Host": "[::1]:8080"}, 200),
        ({"Origin": LOCAL}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "[evil"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:3000"}, 403),
    ],
)
def test_without_authentication_no_other_site_may_use_a_browser_here(
    unguarded: App, headers: dict[str, str], status: int
) -> None:
    response = unguarded.get("/api/v1/searches", headers=headers)
    assert response.status_code == status
    if status == 403:
        assert _problem(response) == (403, "cross-site")


def test_with_authentication_any_name_of_the_service_will_do(guarded: Guarded) -> None:
    headers = {"Host": "searchd.example", "Origin": "https://searchd.example"}
    assert guarded.call("GET", "/api/v1/searches", "rea", headers=headers).status_code == 200


def test_no_other_site_may_read_an_answer(guarded: Guarded) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}
    for response in (
        guarded.call("GET", "/api/v1/searches", "rea", headers=headers),
        guarded.call("OPTIONS", "/api/v1/searches", headers=headers),
    ):
        assert not any(name.startswith("access-control") for name in response.headers)


def test_rules_that_would_let_anybody_in_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="set SEARCHD_AUTH=on"):
        Rules.of(Settings(api_host="0.0.0.0"))
    given = Settings(api_host="0.0.0.0", auth=True, data_roots="/data", requests_per_minute=7)
    assert Rules.of(given) == Rules(
        tokens_needed=True, data_roots=(Path("/data"),), requests_per_minute=7
    )


# Rates


def test_too_many_requests_are_refused_for_a_while(database: Database) -> None:
    client = App.on(database, requests_per_minute=3)
    answers = [client.get("/api/v1/searches") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert _problem(answers[-1]) == (429, "rate-limit")
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert "more than 3 requests per minute by this address" in answers[-1].json()["detail"]
    assert client.get("/readyz").status_code == 200


def test_requests_are_counted_for_each_token(guarded: Guarded) -> None:
    limited = guarded.with_rules(requests_per_minute=2)

    def call(who: str) -> int:
        return limited.call("GET", "/api/v1/searches", who).status_code

    assert [call("sam"), call("sam"), call("sam")] == [200, 200, 429]
    assert [call("guess"), call("guess"), call("guess")] == [401, 401, 429]
    assert call("sue") == 200


def test_a_stream_of_events_is_one_request(database: Database) -> None:
    add_dataset(database)
    client = App.on(database, requests_per_minute=1)
    stream = client.get("/api/v1/datasets/shapes/events")
    assert stream.text.count("event: status") > 1
    assert client.get("/api/v1/searches").status_code == 429


# Paths


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root with a link that leads out of it."""
    root = tmp_path / "root"
    (root / "images").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (root / "escape").symlink_to(tmp_path / "outside")
    (root / "inside").symlink_to(root / "images")
    return root


def _register(guarded: Guarded, root: Path, path: str) -> httpx.Response:
    split = {"annotations": str(root / "a.json"), "images": path}
    body = {"name": "mine", "train": split, "validation": split}
    app = guarded.with_rules(data_roots=(root,))
    return app.call("POST", "/api/v1/datasets", "sam", json=body)


@pytest.mark.parametrize("path", ["images", "inside", "not-there-yet", "."])
def test_a_path_below_a_root_is_accepted(guarded: Guarded, root: Path, path: str) -> None:
    assert _register(guarded, root, str(root / path)).status_code == 201


@pytest.mark.parametrize(
    "path",
    [
        "/etc",
        "{root}/../outside",
        "{root}/images/../images",
        "{root}/escape",
        "{root}/escape/deeper",
        "{root}-next-door",
        "images",
        "~/images",
        "file://{root}/images",
        "{root}/images::file:///etc",
        "s3://bucket/images",
        "",
    ],
)
def test_a_path_elsewhere_is_refused(guarded: Guarded, root: Path, path: str) -> None:
    response = _register(guarded, root, path.format(root=root))
    assert _problem(response) == (422, "invalid-value")
    detail = response.json()["detail"]
    assert detail.startswith("train.images: ")
    assert f"below one of: {root} (the operator sets SEARCHD_DATA_ROOTS)" in detail


def _search(**changes: Any) -> SearchSpec:
    return search_spec(**changes)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (
            _search(
                base=BaseSpec(
                    backbone=None,
                    mmdet=MmdetSpec(config="retinanet_r50_fpn_1x_coco", checkpoint=Path("/etc/x")),
                )
            ),
            "base.mmdet.checkpoint: '/etc/x'",
        ),
        (
            _search(
                distillation=MethodsSpec(
                    methods=(
                        MethodSpec(name="dicod_classification", options={"classifier": "/etc/x"}),
                    )
                )
            ),
            "distillation.methods.dicod_classification.options.classifier: '/etc/x'",
        ),
        (
            _search(
                distillation={
                    "methods": [{"name": "sgfi"}],
                    "search": {
                        "methods": [
                            {"name": "dicod_classification", "options": {"classifier": "/etc/x"}}
                        ]
                    },
                }
            ),
            "distillation.search.methods.dicod_classification.options.classifier: '/etc/x'",
        ),
    ],
)
def test_a_search_names_paths_below_a_root_too(
    guarded: Guarded, spec: SearchSpec, field: str
) -> None:
    add_dataset(guarded.database)
    add_pool(guarded.database)
    body = spec.model_dump(mode="json")
    response = guarded.call("POST", "/api/v1/searches", "sam", json=body)
    assert _problem(response) == (422, "invalid-value")
    assert response.json()["detail"].startswith(field)
    allowed = guarded.with_rules(data_roots=(Path("/etc"),))
    accepted = allowed.call("POST", "/api/v1/searches", "sam", json=body)
    assert accepted.status_code == 201


# Secrets


@pytest.mark.timeout(60)  # it asks for everything that the service answers
def test_no_answer_and_no_log_shows_a_token_or_the_database(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with _database(tmp_path) as database:
        app = App.on(database, tokens_needed=True)
        guarded = Guarded(database, app, _create_tokens(database))
        caplog.set_level(logging.DEBUG)
        _submit(guarded, "sam", "searches")
        secret = guarded.secrets["sam"]
        answers = [
            guarded.call("POST", "/api/v1/searches/mine/cancel", "sam"),
            guarded.call("GET", "/openapi.json", "sam"),
            guarded.call("GET", "/api/v1/searches/mine", "sam"),
            guarded.call("POST", "/api/v1/datasets", "sam", json={"name": "x"}),
            guarded.call("POST", "/api/v1/searches/mine/cancel", "sue"),
            guarded.call("GET", "/api/v1/searches", secret + "x"),
            guarded.call("GET", "/api/v1/searches/none", "sam"),
            guarded.call("GET", "/readyz"),
        ]
        with guarded.database.connect() as connection:
            connection.exec_driver_sql("UPDATE tokens SET role = 'king'")
        answers.append(guarded.call("GET", "/api/v1/searches", "sam"))
        assert answers[-1].status_code == 500
        shown = caplog.text + "".join(answer.text + str(answer.headers) for answer in answers)
        with guarded.database.read() as session:
            rows = session.connection().exec_driver_sql("SELECT * FROM events").all()
        shown += str(rows)
        assert "unexpected error" in shown
        assert secret not in shown
        assert secret.removeprefix("searchd_") not in shown
        assert "sqlite:///" not in shown


# The client


def test_the_client_shows_its_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(tmp_path, Rules(tokens_needed=True)) as service:
        with service.database.write() as session:
            secret = tokens.create(session, "ci", Role.READ)
        with Client(service.url, token=secret) as client:
            assert list(client.list_searches()) == []
        monkeypatch.setenv("SEARCHD_TOKEN", secret)
        with Client(service.url) as client:
            assert list(client.list_searches()) == []
        monkeypatch.delenv("SEARCHD_TOKEN")
        with (
            Client(service.url) as client,
            pytest.raises(ApiError, match="this call needs a token"),
        ):
            list(client.list_searches())


@pytest.mark.parametrize("token", ["searchd_a b", "searchd_a\n", "searchd_ä"])
def test_a_damaged_token_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(InvalidValueError, match="SEARCHD_TOKEN has a space") as error:
        Client(token=token)
    assert "searchd_a" not in str(error.value)
