"""`searchd schema`: the JSON Schema of specs, by which editors complete and check them."""

from enum import StrEnum
from typing import Annotated

import typer

from cli.output import show_json


class Kind(StrEnum):
    """What a spec describes."""

    SEARCH = "search"
    POOL = "pool"
    DISTILLATION = "distillation"
    DATASET = "dataset"
    TEACHER = "teacher"
    DEVICE = "device"
    FINE_TUNE = "fine-tune"
    DISTIL = "distil"
    CLASSIFIER = "classifier"


def schema(
    kind: Annotated[
        Kind,
        typer.Argument(
            help="Kind of the spec whose schema is printed; device is that of `device add --file`, "
            "fine-tune and distil of `search finish --file`, classifier of `tools "
            "train-classifier`."
        ),
    ],
) -> None:
    """Print the JSON Schema of a kind of spec, for editors that complete and check YAML and JSON.

    Save it, for example as search.schema.json, and begin a spec with the line
    `# yaml-language-server: $schema=search.schema.json`. Needs no service.
    """
    from searchd import spec
    from searchd.spec.classifier import ClassifierTrainingSpec
    from searchd.spec.described import describe

    kinds: dict[Kind, type[spec.Spec]] = {
        Kind.SEARCH: spec.SearchSpec,
        Kind.POOL: spec.PoolSpec,
        Kind.DISTILLATION: spec.DistillationSpec,
        Kind.DATASET: spec.DatasetSpec,
        Kind.TEACHER: spec.TeacherSpec,
        Kind.DEVICE: spec.DeviceSpec,
        Kind.FINE_TUNE: spec.FineTuneSpec,
        Kind.DISTIL: spec.DistilSpec,
        Kind.CLASSIFIER: ClassifierTrainingSpec,
    }
    found = kinds[kind].model_json_schema()
    describe({kinds[kind].__name__: found, **found.get("$defs", {})})
    _let_several_fit(found)
    if kind is Kind.DEVICE:
        found["required"].remove("name")  # an argument of the command
    show_json({"$schema": "https://json-schema.org/draft/2020-12/schema", **found})


def _let_several_fit(schema: object) -> None:
    """Replace `oneOf`: without its `kind`, which has a default, a section fits several forms."""
    if isinstance(schema, dict):
        if "oneOf" in schema:
            schema["anyOf"] = schema.pop("oneOf")
        schema = list(schema.values())
    for each in schema if isinstance(schema, list) else ():
        _let_several_fit(each)
