"""The plots of a report, each with what it shows in words."""

import math
import statistics

from lib.release.gate import Verdict
from lib.release.records import TestRecord
from lib.report.comparison import Version
from lib.report.predictions import Bin, Regression
from lib.report.svg import Axis, Plot, across, around, box, dot, joined, label, line, number, signed, upwards
from lib.settings.release import Rule

MOST_DOTS = 400
MOST_BARS = 16
HEIGHT = 240  # pixels
LEAST_MS = 0.01  # as records have it


def verdict(found: Verdict, rule: Rule) -> Plot | None:
    """Draw the improvement with its interval, against what the gate asks for."""
    if found.improvement is None or found.interval is None:
        return None
    (low, high), better, asked = found.interval, found.improvement, rule.smallest_improvement
    axis = around([low, high, better, 0, asked], margin=0.12)
    marks = [
        box(axis.at(asked), 22, 100 - axis.at(asked), 78, "region"),
        *across(axis, 100),
        line(axis.at(0), 22, axis.at(0), 100, "zero"),
        label(axis.at(0), 14, "as good as production", "label", "end" if axis.at(0) > 50 else "start"),  # noqa: PLR2004
        line(axis.at(low), 64, axis.at(high), 64, "interval"),
        dot(axis.at(better), 64, 7, "dot"),
        label(axis.at(better), 48, signed(better), "value"),
        label(axis.at(low), 86, signed(low)),
        label(axis.at(high), 86, signed(high)),
    ]
    if asked:
        marks += [
            line(axis.at(asked), 22, axis.at(asked), 100, "asked"),
            label(axis.at(asked), 0, f"asked for {signed(asked)}"),
        ]
    alt = (
        f"Improvement in {found.metric} {signed(better)}, 95 % interval {signed(low)} to {signed(high)}; "
        f"the gate asks for {number(asked)} or more, 0 is as good as production."
    )
    return Plot(126, marks, alt, x_title=f"improvement in {found.metric}, right is better")


def floor(found: Verdict, rule: Rule) -> Plot | None:
    """Draw a model's metric against the worst that may go out, where there is no other model to compare it with."""
    if found.improvement is not None or rule.floor is None:
        return None
    axis = around([found.candidate, rule.floor], margin=0.25)
    edge, lower = axis.at(rule.floor), rule.direction == "lower"
    marks = [
        box(0 if lower else edge, 22, edge if lower else 100 - edge, 58, "region"),
        *across(axis, 80),
        line(edge, 22, edge, 80, "asked"),
        label(edge, 14, f"floor {number(rule.floor)}"),
        dot(axis.at(found.candidate), 60, 7, "dot"),
        label(axis.at(found.candidate), 46, number(found.candidate), "value"),
    ]
    alt = f"{found.metric} {number(found.candidate)}; the floor is {number(rule.floor)}, {rule.direction} is better."
    return Plot(106, marks, alt, x_title=f"{found.metric}, {rule.direction} is better")


def scatter(found: Regression) -> Plot:
    """Draw predicted against true values."""
    pairs = list(zip(found.predicted, found.truth, strict=True))[:: max(1, len(found.truth) // MOST_DOTS)]
    height = HEIGHT
    both = around([*found.truth, *found.predicted])
    up = Axis(both.low, both.high, height)
    marks = [
        *upwards(up),
        *across(both, height),
        line(0, height, 100, 0, "zero"),
        *(dot(both.at(predicted), up.down(true), 3.5, "dot faint") for predicted, true in pairs),
    ]
    return Plot(
        height + 26,
        marks,
        f"Predicted against true values of {len(found.truth)} held-out rows; on the line both are the same.",
        left=44,
        x_title="predicted",
        y_title="true",
    )


def residuals(found: Regression) -> Plot:
    """Draw how often the model is off by how much."""
    values, height = found.residuals, HEIGHT
    axis = around([*values, 0], margin=0.02)
    bars = min(MOST_BARS, max(4, round(math.sqrt(len(values)))))
    width = (axis.high - axis.low) / bars
    counts = [0] * bars
    for value in values:
        counts[min(bars - 1, int((value - axis.low) / width))] += 1
    up = Axis(0, max(counts) * 1.08, height)
    marks = [
        *upwards(up),
        *(
            box(axis.at(axis.low + place * width) + 0.3, up.down(count), 100 / bars - 0.6, up.at(count), "bar")
            for place, count in enumerate(counts)
        ),
        *across(axis, height, grid=False),
        line(axis.at(0), 0, axis.at(0), height, "zero"),
    ]
    spread = statistics.pstdev(values)
    alt = (
        f"Residuals of {len(values)} held-out rows from {signed(min(values))} to {signed(max(values))}, "
        f"on average {signed(statistics.fmean(values))}, standard deviation {number(spread, 4)}."
    )
    return Plot(height + 26, marks, alt, left=44, x_title="true less predicted", y_title="rows")


def calibration(bins: list[Bin]) -> Plot | None:
    """Draw how often a classifier is right against how sure it is."""
    if not bins:
        return None
    height = HEIGHT
    low = min(0.95, *(min(one.confidence, one.accuracy) for one in bins)) - 0.05
    axis, up = Axis(low, 1.02), Axis(low, 1.02, height)
    marks = [
        *upwards(up),
        *across(axis, height),
        line(0, height, 100, 0, "zero"),
        *joined([(axis.at(one.confidence), up.down(one.accuracy)) for one in bins]),
        *(dot(axis.at(one.confidence), up.down(one.accuracy), 5, "dot") for one in bins),
    ]
    told = "; ".join(f"sure {number(one.confidence, 3)}, right {number(one.accuracy, 3)}" for one in bins)
    alt = f"Calibration, {len(bins)} groups of about {bins[0].count} rows, from the least sure on: {told}."
    return Plot(height + 26, marks, alt, left=44, x_title="how sure the model is", y_title="how often it is right")


def history(versions: list[Version], rule: Rule) -> Plot | None:
    """Draw the metric of each version; what was in production is joined and filled."""
    if len(versions) < 2:  # noqa: PLR2004 - one version has no history
        return None
    height = 220
    values = [one.value for one in versions]
    up = around(values, height, margin=0.2)
    first, last = versions[0].version, versions[-1].version
    axis = Axis(first - 0.5, last + 0.5)
    step = math.ceil((last - first + 1) / 8)
    marks = [*upwards(up), line(0, height, 100, height, "axis")]
    if rule.floor is not None and up.low < rule.floor < up.high:
        marks += [
            line(0, up.down(rule.floor), 100, up.down(rule.floor), "asked"),
            label(100, up.down(rule.floor) - 6, "floor"),
        ]
    for one in versions:
        if one.other_data:
            marks += [line(axis.at(one.version - 0.5), 0, axis.at(one.version - 0.5), height, "other")]
    produced = [(axis.at(one.version), up.down(one.value)) for one in versions if one.produced]
    marks += joined(produced)
    for place, one in enumerate(versions):
        x, y = axis.at(one.version), up.down(one.value)
        marks.append(dot(x, y, 6 if one.this else 4, "dot" if one.produced else "dot hollow"))
        if one.this:
            falls = place > 0 and versions[place - 1].value > one.value
            marks.append(label(x, y + 24 if falls else y - 12, number(one.value), "value"))
        if (last - one.version) % step == 0:
            name = str(one.version) if one.registered else "this run"
            marks.append(label(x, height + 18, name, "tick", "middle"))
    told = ", ".join(f"version {one.version} {number(one.value)}" for one in versions[-8:])
    alt = f"{rule.metric} of {len(versions)} models, {rule.direction} is better; the last: {told}."
    return Plot(
        height + 26, marks, alt, left=56, x_title="version", y_title=f"{rule.metric}, {rule.direction} is better"
    )


def latency(tests: list[tuple[str, TestRecord]]) -> Plot | None:
    """Draw each request's time, on a scale on which twice as long is as far everywhere."""
    if not tests:
        return None
    times = [max(time, LEAST_MS) for _, test in tests for time in (test.p50_ms, test.p99_ms, *test.latencies_ms)]
    low, high = min(times) * 0.85, max(times) * 1.15
    axis = Axis(math.log10(low), math.log10(high))
    row, height = 62, 62 * len(tests) + 6
    ticks = [base * 10.0**power for power in range(-2, 6) for base in (1, 2, 5) if low <= base * 10.0**power <= high]
    marks = [line(0, height, 100, height, "axis")]
    for tick in ticks:
        x = axis.at(math.log10(tick))
        marks += [line(x, 0, x, height, "grid"), label(x, height + 18, number(tick), "tick", "middle")]
    for place, (name, test) in enumerate(tests):
        top = place * row
        marks.append(label(0, top + 14, name, "label strong", "start"))
        for number_, time in enumerate(test.latencies_ms):
            marks.append(dot(axis.at(math.log10(max(time, LEAST_MS))), top + 28 + number_ * 7 % 23, 2.5, "dot faint"))
        for time in (test.p50_ms, test.p99_ms):
            x = axis.at(math.log10(max(time, LEAST_MS)))
            marks += [line(x, top + 22, x, top + 58, "quantile")]
    told = "; ".join(f"{name} p50 {test.p50_ms:.1f} ms, p99 {test.p99_ms:.1f} ms" for name, test in tests)
    return Plot(
        height + 26, marks, f"Latency of one-row requests: {told}.", x_title="milliseconds, on a logarithmic scale"
    )
