"""What operators are told of the sandbox: of all fronts together."""

from __future__ import annotations

from collections.abc import Sequence

from icapd.worker.frames import SandboxStep

Steps = tuple[SandboxStep, ...]


def sandbox_lines(fronts: Sequence[Steps]) -> list[str]:
    """A line a step."""
    return [
        f"sandbox {step.name}: {'in force' if step.in_force else 'not in force'}"
        + (f" ({step.detail})" if step.detail else "")
        for step in _together(fronts)
    ]


def sandbox_samples(fronts: Sequence[Steps]) -> list[tuple[tuple[str, ...], float]]:
    """The samples of icapd_sandbox."""
    return [((step.name,), float(step.in_force)) for step in _together(fronts)]


def _together(fronts: Sequence[Steps]) -> list[SandboxStep]:
    """Each step as the worst of the fronts has it; a front that has said nothing yet does not count."""
    worst: dict[str, SandboxStep] = {}
    for step in (step for steps in fronts for step in steps):
        if step.name not in worst or not step.in_force:
            worst[step.name] = step
    return list(worst.values())
