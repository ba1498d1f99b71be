"""Results of training: measurements, metrics of epochs, files."""

from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from searchd.domain.accuracy import Accuracy, ApKind
from searchd.domain.errors import CollectedError
from searchd.domain.resolution import Resolution
from searchd.domain.subnet import Subnet
from searchd.domain.trial import Artifact, Evaluation
from searchd.messages.codecs import EVALUATED_SUBNETS
from searchd.messages.reports import EpochMetrics, EvaluatedSubnet
from searchd.spec.codecs import SUBNET
from searchd.store.base import ID_LENGTH, AsJson, Base, now

SHA256_LENGTH = 64
_ONE_OWNER = "(trial_id IS NULL) <> (pool_id IS NULL)"


class Accurate:
    """The columns of `searchd.domain.accuracy.Accuracy`, which documents them."""

    ap: Mapped[float]
    ap50: Mapped[float]
    ap75: Mapped[float]
    ap_small: Mapped[float]
    ap_medium: Mapped[float]
    ap_large: Mapped[float]
    ap70: Mapped[float | None]
    ap90: Mapped[float | None]
    ar1: Mapped[float | None]
    ar10: Mapped[float | None]
    ar100: Mapped[float | None]
    ar_small: Mapped[float | None]
    ar_medium: Mapped[float | None]
    ar_large: Mapped[float | None]
    mask_ap: Mapped[float | None]
    mask_ap50: Mapped[float | None]

    def of(self, kind: ApKind) -> float:
        """Return the AP of a kind. That of masks is 0 if no masks were found."""
        return self.ap if kind is ApKind.BOX_AP else self.mask_ap or 0.0


class Measured(Accurate):
    """The columns of `searchd.domain.trial.Evaluation`, which documents the units."""

    width: Mapped[int]
    height: Mapped[int]
    macs: Mapped[float]
    latency_s: Mapped[float]
    images_per_s: Mapped[float]

    @property
    def resolution(self) -> Resolution:
        return Resolution(self.width, self.height)


def measured(evaluation: Evaluation) -> dict[str, float | None]:
    """Return the columns of `Measured` of an evaluation."""
    return {
        **accuracy(evaluation),
        "width": evaluation.resolution.width,
        "height": evaluation.resolution.height,
        "macs": evaluation.macs,
        "latency_s": evaluation.latency_s,
        "images_per_s": evaluation.images_per_s,
    }


def accuracy(of: Evaluation | Accurate) -> dict[str, float | None]:
    """Return the columns of `Accurate` of an evaluation, or of a row."""
    return {field.name: getattr(of, field.name) for field in fields(Accuracy)}


class SubnetEvaluationRow(Measured, Base):
    """The evaluation of a subnet of a trained pool at one resolution."""

    __tablename__ = "subnet_evaluations"

    id: Mapped[int] = mapped_column(primary_key=True)
    pool_id: Mapped[str] = mapped_column(ForeignKey("pools.id"), index=True)
    subnet: Mapped[Subnet] = mapped_column(AsJson(SUBNET))
    params: Mapped[int] = mapped_column(BigInteger)


class EpochMetricsRow(Base):
    """The metrics of one epoch of a trial or of a phase of a pool."""

    __tablename__ = "epoch_metrics"
    __table_args__ = (CheckConstraint(_ONE_OWNER, name="one_owner"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    trial_id: Mapped[str | None] = mapped_column(ForeignKey("trials.id"), index=True)
    pool_id: Mapped[str | None] = mapped_column(ForeignKey("pools.id"), index=True)
    phase: Mapped[str] = mapped_column(default="")
    """The phase of progressive shrinking; empty for trials."""
    epoch: Mapped[int]
    losses: Mapped[dict[str, float]]
    learning_rate: Mapped[float]
    duration_s: Mapped[float]
    subnets: Mapped[tuple[EvaluatedSubnet, ...] | None] = mapped_column(AsJson(EVALUATED_SUBNETS))
    """Subnets measured at the end of this phase of a pool; None of other epochs."""

    @classmethod
    def of(cls, metrics: EpochMetrics) -> "EpochMetricsRow":
        return cls(
            epoch=metrics.epoch,
            losses=dict(metrics.losses),
            learning_rate=metrics.learning_rate,
            duration_s=metrics.duration_s,
        )


class ArtifactRow(Base):
    """A stored file of a trial or a pool."""

    __tablename__ = "artifacts"
    __table_args__ = (CheckConstraint(_ONE_OWNER, name="one_owner"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    trial_id: Mapped[str | None] = mapped_column(ForeignKey("trials.id"), index=True)
    pool_id: Mapped[str | None] = mapped_column(ForeignKey("pools.id"), index=True)
    name: Mapped[str] = mapped_column(String(ID_LENGTH))
    uri: Mapped[str]
    sha256: Mapped[str] = mapped_column(String(SHA256_LENGTH))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    deleted_at: Mapped[datetime | None]
    """When the file was collected, because nothing needed it; None: it exists."""

    @classmethod
    def of(cls, artifact: Artifact) -> "ArtifactRow":
        return cls(
            name=artifact.name,
            uri=artifact.uri,
            sha256=artifact.sha256,
            size_bytes=artifact.size_bytes,
        )

    def check_there(self) -> None:
        """Check that the file was not collected.

        Raises:
            CollectedError: The file was collected.
        """
        if self.deleted_at is not None:
            raise CollectedError(
                f"{self.name} of {self.trial_id or self.pool_id} was collected at "
                f"{self.deleted_at:%Y-%m-%d %H:%M} UTC because nothing needed it; the files of a "
                "pinned trial are kept: searchd search pin TRIAL"
            )

    @property
    def artifact(self) -> Artifact:
        return Artifact(
            name=self.name, uri=self.uri, sha256=self.sha256, size_bytes=self.size_bytes
        )


class AdaptationCostRow(Base):
    """The adaptation cost C(A, B) of two detectors, reused for the same data and weights."""

    __tablename__ = "adaptation_costs"

    key: Mapped[str] = mapped_column(String(SHA256_LENGTH), primary_key=True)
    """SHA-256 of `of`."""
    of: Mapped[dict[str, Any]]
    """What the cost depends on: data set, resolutions, normalisation, both detectors' weights."""
    cost: Mapped[float]
    created_at: Mapped[datetime] = mapped_column(default=now)
