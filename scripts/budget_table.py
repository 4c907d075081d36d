"""What a call may cost: the file of budgets, and the table that puts what was counted beside it."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

OURS_TOLERANCE = 0.01
TOTAL_TOLERANCE = 0.02
LEAST_TOLERANCE = 5  # instructions: a compiler's mood
ROUGHLY = 3  # times the tolerance, where an event loop makes more or fewer rounds for the same calls, as time has it
GROUPS = ("ours", "python", "libc")

Cost = dict[str, int]  # instructions a call, by group


@dataclass(frozen=True)
class Build:
    """What the counts depend on beside our sources."""

    compiler: str  # of stub and core
    python: str
    libc: str

    def same_compiler(self, other: Build) -> bool:
        """Whether ours may be compared."""
        return self.compiler.partition(".")[0] == other.compiler.partition(".")[0]

    def same_libraries(self, other: Build) -> bool:
        """Whether what is not ours may be compared."""
        return (self.python, self.libc) == (other.python, other.libc)


def total(cost: Cost) -> int:
    """Of all groups."""
    return sum(cost[group] for group in GROUPS)


# ---- comparing ----


def verdict(now: int, budget: int, tolerance: float) -> str:
    """Nothing, or on which side of its budget a count is."""
    allowed = max(budget * tolerance, LEAST_TOLERANCE)
    if now > budget + allowed:
        return "over"
    return "below" if now < budget - allowed else ""


@dataclass(frozen=True)
class Line:
    """One way beside its budget; None for what is not compared, or where `is_new`."""

    name: str
    now: Cost
    budget_ours: int | None
    budget_total: int | None
    is_new: bool = False
    is_rough: bool = False

    @property
    def is_compared(self) -> bool:
        """Whether anything of it is held to a budget."""
        return self.budget_ours is not None or self.budget_total is not None

    @property
    def verdicts(self) -> set[str]:
        """Which sides of its budgets it is on; "new" where it has none and should."""
        times = ROUGHLY if self.is_rough else 1
        pairs = [
            (self.now["ours"], self.budget_ours, OURS_TOLERANCE * times),
            (total(self.now), self.budget_total, TOTAL_TOLERANCE * times),
        ]
        found = {verdict(now, budget, tolerance) for now, budget, tolerance in pairs if budget is not None}
        return (found | ({"new"} if self.is_new else set())) - {""}

    def __str__(self) -> str:
        def beside(now: int, budget: int | None) -> str:
            return f"{now:7}{budget:8}{now - budget:+7}" if budget is not None else f"{now:7}{'-':>8}{'':7}"

        said = "".join(f" {each.upper()}" for each in sorted(self.verdicts))
        others = f"{self.now['python']:8}{self.now['libc']:8}"
        return (
            f"{self.name:20}{beside(self.now['ours'], self.budget_ours)} |{others} |"
            f"{beside(total(self.now), self.budget_total)}{said}"
        )


HEAD = f"{'way':20}{'ours':>7}{'budget':>8}{'':7} |{'python':>8}{'libc':>8} |{'total':>7}{'budget':>8}"


def compare(
    costs: dict[str, Cost],
    build: Build,
    recorded: Build | None,
    budgets: dict[str, Cost],
    rough: Collection[str] = (),
) -> list[Line]:
    """Put each way beside what may be compared of its budget; those of `rough` may be off by more."""
    is_ours = recorded is not None and build.same_compiler(recorded)
    is_total = recorded is not None and is_ours and build.same_libraries(recorded)
    return [
        Line(
            name,
            now,
            budgets[name]["ours"] if is_ours and name in budgets else None,
            total(budgets[name]) if is_total and name in budgets else None,
            is_new=is_ours and name not in budgets,
            is_rough=name in rough,
        )
        for name, now in costs.items()
    ]


def explain(build: Build, recorded: Build | None) -> str:
    """What is not compared, and why; or nothing."""
    if recorded is None:
        return "no budget for this Python: nothing is compared"
    if not build.same_compiler(recorded):
        return f"built by {build.compiler}, and the budget is of {recorded.compiler}: nothing is compared"
    if not build.same_libraries(recorded):
        return f"the budget's totals are of {recorded.python} with {recorded.libc}: only ours is compared"
    return ""


def verdicts_of(lines: Sequence[Line], is_ci: bool) -> set[str]:
    """On which sides of their budgets the ways are; "unheld" where CI would be content and nothing was compared."""
    found = {verdict for line in lines for verdict in line.verdicts}
    return found | ({"unheld"} if is_ci and not any(line.is_compared for line in lines) else set())


# ---- the file ----


@dataclass
class Budget:
    """benchmarks/budget/budget.toml: for each version of Python its build, and what a call may cost by each way."""

    builds: dict[str, Build]
    costs: dict[str, dict[str, Cost]]

    @classmethod
    def read(cls, text: str) -> Budget:
        """Read the file's text."""
        builds, costs = {}, {}
        for version, table in tomllib.loads(text).items():
            builds[version] = Build(*(table.pop(key) for key in ("compiler", "python", "libc")))
            costs[version] = table
        return cls(builds, costs)

    def write(self) -> str:
        """Give the file's text."""
        lines = ["# Instructions a call may cost: `make budget` compares, `make budget UPDATE=1` writes this file."]
        for version, build in sorted(self.builds.items()):
            lines += ["", f'["{version}"]']
            lines += [f'{key} = "{getattr(build, key)}"' for key in ("compiler", "python", "libc")]
            for name, cost in self.costs[version].items():
                lines.append(f'"{name}" = {{ ' + ", ".join(f"{group} = {cost[group]}" for group in GROUPS) + " }")
        return "\n".join(lines) + "\n"
