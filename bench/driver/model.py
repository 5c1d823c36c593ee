# SPDX-License-Identifier: MIT
#
# What a benchmark is.
#
# A *work* is done by several contenders, one after the other, round by round. Each doing prints figures, one a line:
# `NAME VALUE`. A *row* of the table shows one of these figures for all contenders, and says what is to be reached: its
# *goals*. Nothing here runs, reads or prints anything.
#
# The best of all rounds stands for a contender: what disturbs a busy machine makes things slower, hardly ever faster.
# In rows that are `typical` it is the middle one: two threads that happen to share a core, and its caches, take less
# processor time than two that run apart, so the least of many turns is a matter of luck there.

import math
from dataclasses import dataclass, field

OURS = "ours"  # what the name of our own contenders begins with
SECONDS = "seconds"  # processor time of the command and of what it has started; every work has this figure


@dataclass(frozen=True)
class Contender:
    name: str
    command: tuple
    environment: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    name: str
    contenders: tuple
    rounds_most: int = 1000
    turns: int = 1  # of each contender within a round: more for what is short and wants to be known exactly


@dataclass(frozen=True)
class Goal:
    """At most (at least, where more is better) `times` what `against` has, and `plus`, and as many cache `misses`."""
    times: float = 0
    against: str = ""
    plus: float = 0
    misses: int = 0
    ours: str = OURS

    def words(self, more):
        against = f"{self.times:g} × {self.against}" if self.times != 1 else self.against
        parts = (against if self.against else "", f"{self.plus:g}" if self.plus else "",
                 f"{self.misses} misses" if self.misses else "")
        return ("≥ " if more else "≤ ") + " + ".join(filter(None, parts))

    def is_ratio(self):
        return bool(self.against) and not self.plus and not self.misses


@dataclass(frozen=True)
class Row:
    work: str
    figure: str
    title: str
    unit: str
    reference: str = ""  # whose best is 1.00; the first contender's otherwise
    more: bool = False  # is more better?
    typical: bool = False
    goals: tuple = ()


@dataclass(frozen=True)
class MeanRow:
    """The geometric mean over several works, whose rows are typical, of the ratios to the reference."""
    works: tuple
    figure: str
    title: str
    reference: str
    goals: tuple = ()
    unit: str = "×"
    more: bool = False
    typical: bool = True


class Results:
    """Values by work, contender and figure, in the order of the rounds; what went wrong."""

    def __init__(self):
        self.values = {}
        self.failures = {}

    def add(self, work, contender, figures):
        for name, value in figures.items():
            self.values.setdefault((work, contender, name), []).append(value)

    def add_failure(self, work, contender, why):
        self.failures.setdefault((work, contender), why)

    def of(self, work, contender, figure):
        return self.values.get((work, contender, figure), [])

    def contenders(self, work, figure):
        return [c for (w, c, f) in self.values if w == work and f == figure]


@dataclass(frozen=True)
class Verdict:
    goal: Goal
    found: float
    limit: float  # in the same unit
    against: float  # what the other one has, 0 without one
    met: bool


def middle(values):
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def standing_for(row, values):
    if row.typical:
        return middle(values)
    return max(values) if row.more else min(values)


class Shown:
    """A row with its figures: {contender: values}, the one that stands for each, and the verdicts on ours."""

    def __init__(self, row, values, misses):
        self.row = row
        self.values = values
        self.figure = {name: standing_for(row, found) for name, found in values.items()}
        names = list(values)
        self.reference = row.reference if row.reference in values else (names[0] if names else "")
        self.verdicts = [v for v in (self._judge(goal, misses) for goal in row.goals) if v is not None]

    def ratio(self, name):
        return self.figure[name] / self.figure[self.reference]

    def goal_words(self):
        ours = {goal.ours for goal in self.row.goals}
        return ", ".join((f"{goal.ours}: " if len(ours) > 1 else "") + goal.words(self.row.more)
                         for goal in self.row.goals)

    def _judge(self, goal, misses):
        compared = [goal.ours] + ([goal.against] if goal.against else [])
        if any(name not in self.figure for name in compared) or (goal.misses and not misses):
            return None
        found, against = self.figure[goal.ours], self.figure.get(goal.against, 0)
        limit = goal.times * against + goal.plus + (goal.misses * min(misses) if goal.misses else 0)
        return Verdict(goal, found, limit, against, found >= limit if self.row.more else found <= limit)


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def _means(row, results):
    """Of contenders that have done every work that the reference has; ratios to the reference, which is 1."""
    works = [w for w in row.works if results.of(w, row.reference, row.figure)]
    names = dict.fromkeys(n for w in works for n in results.contenders(w, row.figure))
    values = {}
    for name in names:
        found = [results.of(w, name, row.figure) for w in works]
        if all(found):
            values[name] = [geometric_mean([middle(of_work) / middle(results.of(w, row.reference, row.figure))
                                            for w, of_work in zip(works, found)])]
    return values


def show(row, results):
    if isinstance(row, MeanRow):
        return Shown(row, _means(row, results), [])
    values = {name: results.of(row.work, name, row.figure) for name in results.contenders(row.work, row.figure)}
    return Shown(row, values, results.of(row.work, OURS, "miss"))
