"""The JSON form of reports and progress. Clients of the API read neither, and do not wait for their
validators."""

from pydantic import TypeAdapter

from searchd.messages.devices import DeviceReport
from searchd.messages.exports import ExportReport
from searchd.messages.predictions import SamplePredictions
from searchd.messages.reports import (
    EvaluatedSubnet,
    PhaseEpoch,
    PoolProgress,
    PoolReport,
    Progress,
    Report,
    SanityChecks,
    TeacherProgress,
    TeacherReport,
    TeacherTrainingReport,
)

REPORT = TypeAdapter(Report)
CHECKS = TypeAdapter(SanityChecks)
PROGRESS = TypeAdapter(Progress)
POOL_REPORT = TypeAdapter(PoolReport)
POOL_PROGRESS = TypeAdapter(PoolProgress)
PHASE_EPOCHS = TypeAdapter(tuple[PhaseEpoch, ...])
EVALUATED_SUBNETS = TypeAdapter(tuple[EvaluatedSubnet, ...])
TEACHER_REPORT = TypeAdapter(TeacherReport)
TEACHER_TRAINING_REPORT = TypeAdapter(TeacherTrainingReport)
TEACHER_PROGRESS = TypeAdapter(TeacherProgress)
DEVICE_REPORT = TypeAdapter(DeviceReport)
EXPORT_REPORT = TypeAdapter(ExportReport)
SAMPLE_PREDICTIONS = TypeAdapter(SamplePredictions)
