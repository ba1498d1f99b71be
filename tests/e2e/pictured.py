"""A distillation, a teacher and a device, for pictures of their pages."""

from api.client import Client
from searchd.domain.lifecycle import DeviceStatus, SearchStatus, TeacherStatus
from searchd.spec import DeviceSpec, DistillationSpec, PoolSubnetSpec, TeacherSpec
from tests.e2e.specs import ONE_AT_A_TIME

DEVICE = {
    "name": "this-machine",
    "runtime": "torch",  # which exports nothing
    "table": {
        "families": ["faster_rcnn"],
        "backbones": ["resnet18"],
        "base_channels": [8],
        "resolutions": ["64x64"],
        "detectors": 4,
        "held_out": 4,
        "max_layers": 20,
    },
}


def add_distillation(client: Client, search: str) -> None:
    """Teach the base of a search by two subnets of its pool, each for an epoch."""
    spec = client.get_search(search).spec
    taught = {
        "name": "taught",
        "dataset": spec.dataset,
        "pool": spec.pool,
        "student": {"trial": f"{search}-base"},
        "num_sampled_teachers": 3,
        "max_teachers": 2,
        "baselines": ["direct", "no_teacher"],
        "trial": {**spec.trial.model_dump(mode="json"), "epochs": 1},
        "score": {"base_resolution": str(spec.score.base_resolution)},
        "resources": ONE_AT_A_TIME,
    }
    submitted = client.submit_distillation(DistillationSpec.model_validate(taught))
    ended = client.wait_for_distillation(submitted.id)
    assert ended.status is SearchStatus.SUCCEEDED, ended.status_reason


def add_teacher(client: Client, search: str) -> None:
    """Register the largest subnet of the pool of a search."""
    spec = client.get_search(search).spec
    assert spec.pool is not None
    subnet = client.get_pool(spec.pool).spec.space.space.largest
    teacher = TeacherSpec(
        name="largest",
        dataset=spec.dataset,
        subnet=PoolSubnetSpec(pool=spec.pool, subnet=subnet),
        resolution=spec.score.base_resolution,
    )
    ended = client.wait_for_teacher(client.create_teacher(teacher).id)
    assert ended.status is TeacherStatus.READY, ended.status_reason


def add_device(client: Client) -> None:
    """Measure this machine."""
    submitted = client.create_device(DeviceSpec.model_validate(DEVICE))
    ended = client.wait_for_device(submitted.id)
    assert ended.status is DeviceStatus.READY, ended.status_reason
