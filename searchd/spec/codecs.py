"""The JSON form of the domain's values in specs, messages and the database."""

from pydantic import TypeAdapter

from searchd.domain.actions import Action
from searchd.domain.detector import Detector, MmdetDetector
from searchd.domain.distillation_plan import Plan
from searchd.domain.subnet import Subnet
from searchd.domain.teacher import TeacherAp
from searchd.domain.trial import Proposal

PROPOSAL = TypeAdapter(Proposal)
DETECTOR = TypeAdapter(Detector)
TEACHER_DETECTOR: TypeAdapter[Detector | MmdetDetector] = TypeAdapter(Detector | MmdetDetector)
ACTION: TypeAdapter[Action] = TypeAdapter(Action)
SUBNET = TypeAdapter(Subnet)
PLAN = TypeAdapter(Plan)
TEACHER_APS: TypeAdapter[tuple[TeacherAp, ...]] = TypeAdapter(tuple[TeacherAp, ...])
