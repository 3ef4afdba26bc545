"""What `doctor` finds."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

Verdict = Literal["fine", "warning", "problem"]


class Finding(BaseModel):
    """Of one check: ``found`` is what is so; ``fix`` is what to do about it, empty where all is well."""

    model_config = ConfigDict(frozen=True)

    check: str
    verdict: Verdict
    found: str
    fix: str = ""

    @classmethod
    def fine(cls, check: str, found: str) -> Self:
        return cls(check=check, verdict="fine", found=found)

    @classmethod
    def warning(cls, check: str, found: str, fix: str) -> Self:
        return cls(check=check, verdict="warning", found=found, fix=fix)

    @classmethod
    def problem(cls, check: str, found: str, fix: str) -> Self:
        return cls(check=check, verdict="problem", found=found, fix=fix)
