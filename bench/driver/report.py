# SPDX-License-Identifier: MIT
#
# What has been measured, in words: a table for people, the same in Markdown, and JSON.

import json
import os
import platform

from .model import middle


def number(value):
    """Three figures that count, however large it is."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3f}"


def found_words(verdict):
    goal = verdict.goal
    if goal.is_ratio():
        return f"{verdict.found / verdict.against:.2f} × {goal.against}"
    return f"{number(verdict.found)} of {number(verdict.limit)}"


def verdict_words(shown, verdict):
    return f"{verdict.goal.words(shown.row.more)}: {found_words(verdict)}, {'met' if verdict.met else 'NOT MET'}"


def table(all_shown):
    """The lines of a block for each row: contenders below each other."""
    about = machine()
    yield f"{about['processor']}, {about['cores']} cores, Linux {about['kernel']}, load {about['load']:.1f}"
    for shown in filter(lambda s: s.values, all_shown):
        row = shown.row
        yield ""
        counts = "the median" if row.typical else "the best"
        yield f"{row.title} ({row.unit}, {'more' if row.more else 'less'} is better, {counts} counts)"
        yield f"  {'':24} {'min':>9} {'median':>9} {'max':>9} {'ratio':>7}"
        for name, values in shown.values.items():
            numbers = " ".join(f"{number(v):>9}" for v in (min(values), middle(values), max(values)))
            said = "; ".join(verdict_words(shown, v) for v in shown.verdicts if v.goal.ours == name)
            yield f"  {name:24} {numbers} {shown.ratio(name):7.2f}  {said}".rstrip()


def summary(all_shown):
    verdicts = [(s, v) for s in all_shown for v in s.verdicts]
    missed = [(s, v) for s, v in verdicts if not v.met]
    if not verdicts:
        return
    yield ""
    yield f"{len(verdicts)} goals: {len(verdicts) - len(missed)} met, {len(missed)} not met"
    for shown, verdict in missed:
        goal = f"{verdict.goal.ours} {verdict.goal.words(shown.row.more)}"
        yield f"  not met: {shown.row.title}, {goal}: {found_words(verdict)}"


def markdown(all_shown):
    """One line a row: the figure that stands for each contender."""
    yield "| work | goal | figures | met |"
    yield "|---|---|---|---|"
    for shown in filter(lambda s: s.values, all_shown):
        found = ", ".join(f"{name} {number(figure)}" for name, figure in shown.figure.items())
        met = ", ".join(f"{'yes' if v.met else '**no**'} ({found_words(v)})" for v in shown.verdicts)
        unit = "" if shown.row.unit == "×" else f" {shown.row.unit}"
        yield f"| {shown.row.title} | {shown.goal_words()} | {found}{unit} | {met} |"


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        model = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), "")
    return {"processor": model, "cores": os.cpu_count(), "kernel": platform.release(),
            "libc": " ".join(platform.libc_ver()), "load": os.getloadavg()[0]}


def _row_as_json(shown):
    row = shown.row
    contenders = {name: {"values": values, "min": min(values), "median": middle(values), "max": max(values),
                         "ratio": shown.ratio(name)} for name, values in shown.values.items()}
    verdicts = [{"contender": v.goal.ours, "goal": v.goal.words(row.more), "against": v.goal.against or None,
                 "found": v.found, "limit": v.limit, "met": v.met} for v in shown.verdicts]
    return {"title": row.title, "unit": row.unit, "more_is_better": row.more, "reference": shown.reference,
            "contenders": contenders, "goals": verdicts}


def as_json(all_shown, results, missing, rounds):
    failures = [{"work": work, "contender": contender, "why": why}
                for (work, contender), why in results.failures.items()]
    return json.dumps({"machine": machine(), "rounds": rounds, "missing": missing, "failures": failures,
                       "rows": [_row_as_json(shown) for shown in all_shown]}, indent=1, ensure_ascii=False) + "\n"
