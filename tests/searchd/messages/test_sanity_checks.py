"""The warnings of a trial's sanity checks, and the error about a damaged file."""

from searchd.domain.errors import ArtifactError
from searchd.domain.resolution import Resolution
from searchd.messages.reports import SanityChecks


def test_trial_without_a_finding_has_no_warning() -> None:
    good = SanityChecks(
        resolution=Resolution(64, 64),
        teacher_ap=0.4,
        teacher_ap_floor=0.3,
        undistilled_difference=1e-7,
    )

    assert good.warnings == ()
    assert SanityChecks().warnings == ()


def test_every_finding_is_a_warning_in_words() -> None:
    found = SanityChecks(
        resolution=Resolution(64, 64),
        teacher_ap=0.3,
        teacher_ap_floor=0.3,
        undistilled_difference=0.01,
        suspicious="AP is exactly zero",
    )

    assert found.warnings == (
        "its teacher has AP 30.0% at 64x64, which is not above 30.0%",
        "with distillation switched off its losses differ from plain training's by 1.0e-02",
        "its result is suspicious: AP is exactly zero",
    )


def test_error_about_a_file_has_its_uri() -> None:
    assert ArtifactError("student is missing", "/artifacts/student").uri == "/artifacts/student"
    assert str(ArtifactError("student is missing")) == "student is missing"
