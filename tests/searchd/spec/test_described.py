"""Docstrings below fields become descriptions in JSON Schema."""

from typing import Any

from api.schemas import Page, Search
from searchd.domain.resolution import Resolution
from searchd.spec import BaseSpec, SearchSpec
from searchd.spec.described import describe, descriptions


def test_fields_are_described_by_their_docstrings_also_those_of_bases() -> None:
    assert descriptions(SearchSpec)["confirm"].startswith("Whether a trial with the best score")
    assert descriptions(Page[Search])["items"] == "Items of this page, in the order of the list."
    assert set(descriptions(BaseSpec)) >= set(BaseSpec.model_fields)
    assert descriptions(Resolution)["width"] != ""
    assert descriptions(dict) == {}


def test_descriptions_are_added_where_all_fields_are_those_of_the_class() -> None:
    pool = {"pool": {"type": "string"}, "seed": {"description": "Kept."}}
    foreign: dict[str, object] = {"pool": {}, "colour": {}}
    schemas: dict[str, dict[str, Any]] = {
        "api__schemas__SearchSpec-Input": {"properties": pool},
        "SearchSpec": {"properties": foreign},
    }
    describe(schemas)
    assert pool["pool"]["description"] == descriptions(SearchSpec)["pool"]
    assert pool["seed"]["description"] == "Kept."
    assert foreign == {"pool": {}, "colour": {}}
