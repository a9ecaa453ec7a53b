"""The plots of a report, each with a description in words."""

import math
import statistics

from lib.release.gate import Verdict
from lib.release.records import TestRecord
from lib.report.comparison import Version
from lib.report.predictions import Bin, Regression
from lib.report.svg import Axis, Plot, across, around, box, dot, label, line, number, path, signed, upwards
from lib.settings.release import Rule

MOST_DOTS = 400
MOST_BARS = 16
HEIGHT = 240  # pixels
LEAST_MS = 0.01  # the precision of records; a logarithmic scale has no 0


def verdict(verdict: Verdict, rule: Rule) -> Plot | None:
    """Draw the improvement with its interval, and the smallest improvement that the gate accepts."""
    if verdict.improvement is None or verdict.interval is None:
        return None
    (low, high), better, smallest = verdict.interval, verdict.improvement, rule.smallest_improvement
    axis = around([low, high, better, 0, smallest], margin=0.12)
    marks = [
        box(axis.at(smallest), 22, 100 - axis.at(smallest), 78, "region"),
        *across(axis, 100),
        line(axis.at(0), 22, axis.at(0), 100, "zero"),
        label(axis.at(0), 14, "as good as production", "label", "end" if axis.at(0) > 50 else "start"),  # noqa: PLR2004
        line(axis.at(low), 64, axis.at(high), 64, "interval"),
        dot(axis.at(better), 64, 7, "dot"),
        label(axis.at(better), 48, signed(better), "value"),
        label(axis.at(low), 86, signed(low)),
        label(axis.at(high), 86, signed(high)),
    ]
    if smallest:
        marks += [
            line(axis.at(smallest), 22, axis.at(smallest), 100, "limit"),
            label(axis.at(smallest), 0, f"required {signed(smallest)}"),
        ]
    alt = (
        f"Improvement in {verdict.metric} {signed(better)}, 95 % interval {signed(low)} to {signed(high)}; "
        f"the gate requires {number(smallest)} or more, 0 is as good as production."
    )
    return Plot(126, marks, alt, x_title=f"improvement in {verdict.metric}, right is better")


def floor(verdict: Verdict, rule: Rule) -> Plot | None:
    """Draw a model's metric and the gate's floor, if there is no other model to compare it with."""
    if verdict.improvement is not None or rule.floor is None:
        return None
    axis = around([verdict.candidate, rule.floor], margin=0.25)
    edge, lower = axis.at(rule.floor), rule.direction == "lower"
    marks = [
        box(0 if lower else edge, 22, edge if lower else 100 - edge, 58, "region"),
        *across(axis, 80),
        line(edge, 22, edge, 80, "limit"),
        label(edge, 14, f"floor {number(rule.floor)}"),
        dot(axis.at(verdict.candidate), 60, 7, "dot"),
        label(axis.at(verdict.candidate), 46, number(verdict.candidate), "value"),
    ]
    value = number(verdict.candidate)
    alt = f"{verdict.metric} {value}; the floor is {number(rule.floor)}, {rule.direction} is better."
    return Plot(106, marks, alt, x_title=f"{verdict.metric}, {rule.direction} is better")


def scatter(rows: Regression) -> Plot:
    """Draw predicted against true values."""
    pairs = list(zip(rows.predicted, rows.truth, strict=True))[:: max(1, len(rows.truth) // MOST_DOTS)]
    height = HEIGHT
    both = around([*rows.truth, *rows.predicted])
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
        f"Predicted against true values of {len(rows.truth)} held-out rows; on the line both are the same.",
        left=44,
        x_title="predicted",
        y_title="true",
    )


def residuals(rows: Regression) -> Plot:
    """Draw a histogram of the residuals."""
    values, height = rows.residuals, HEIGHT
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
            box(axis.at(axis.low + index * width) + 0.3, up.down(count), 100 / bars - 0.6, up.at(count), "bar")
            for index, count in enumerate(counts)
        ),
        *across(axis, height, grid=False),
        line(axis.at(0), 0, axis.at(0), height, "zero"),
    ]
    spread = statistics.pstdev(values)
    alt = (
        f"Residuals of {len(values)} held-out rows from {signed(min(values))} to {signed(max(values))}, "
        f"on average {signed(statistics.fmean(values))}, standard deviation {number(spread, 4)}."
    )
    return Plot(height + 26, marks, alt, left=44, x_title="true minus predicted", y_title="rows")


def calibration(bins: list[Bin]) -> Plot | None:
    """Draw the accuracy of predictions against their confidence."""
    if not bins:
        return None
    height = HEIGHT
    low = min(0.95, *(min(group.confidence, group.accuracy) for group in bins)) - 0.05
    axis, up = Axis(low, 1.02), Axis(low, 1.02, height)
    marks = [
        *upwards(up),
        *across(axis, height),
        line(0, height, 100, 0, "zero"),
        *path([(axis.at(group.confidence), up.down(group.accuracy)) for group in bins]),
        *(dot(axis.at(group.confidence), up.down(group.accuracy), 5, "dot") for group in bins),
    ]
    values = "; ".join(
        f"confidence {number(group.confidence, 3)}, accuracy {number(group.accuracy, 3)}" for group in bins
    )
    alt = f"Calibration, {len(bins)} groups of about {bins[0].count} rows, by rising confidence: {values}."
    return Plot(height + 26, marks, alt, left=44, x_title="confidence", y_title="accuracy")


def history(versions: list[Version], rule: Rule) -> Plot | None:
    """Draw the metric of each version. Versions that were in production have filled dots and are connected."""
    if len(versions) < 2:  # noqa: PLR2004 - one version has no history
        return None
    height = 220
    values = [version.value for version in versions]
    up = around(values, height, margin=0.2)
    first, last = versions[0].version, versions[-1].version
    axis = Axis(first - 0.5, last + 0.5)
    step = math.ceil((last - first + 1) / 8)
    marks = [*upwards(up), line(0, height, 100, height, "axis")]
    if rule.floor is not None and up.low < rule.floor < up.high:
        marks += [
            line(0, up.down(rule.floor), 100, up.down(rule.floor), "limit"),
            label(100, up.down(rule.floor) - 6, "floor"),
        ]
    for version in versions:
        if version.other_data:
            marks += [line(axis.at(version.version - 0.5), 0, axis.at(version.version - 0.5), height, "other")]
    marks += path([(axis.at(version.version), up.down(version.value)) for version in versions if version.produced])
    for index, version in enumerate(versions):
        x, y = axis.at(version.version), up.down(version.value)
        marks.append(dot(x, y, 6 if version.this else 4, "dot" if version.produced else "dot hollow"))
        if version.this:
            # The label goes to the side that the line from the previous version does not cross.
            falls = index > 0 and versions[index - 1].value > version.value
            marks.append(label(x, y + 24 if falls else y - 12, number(version.value), "value"))
        if (last - version.version) % step == 0:
            name = str(version.version) if version.registered else "this run"
            marks.append(label(x, height + 18, name, "tick", "middle"))
    newest = ", ".join(f"version {version.version} {number(version.value)}" for version in versions[-8:])
    alt = f"{rule.metric} of {len(versions)} models, {rule.direction} is better; the last: {newest}."
    return Plot(
        height + 26, marks, alt, left=56, x_title="version", y_title=f"{rule.metric}, {rule.direction} is better"
    )


def latency(tests: list[tuple[str, TestRecord]]) -> Plot | None:
    """Draw the time of each request on a logarithmic scale."""
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
    for index, (name, test) in enumerate(tests):
        top = index * row
        marks.append(label(0, top + 14, name, "label strong", "start"))
        for request, time in enumerate(test.latencies_ms):
            y = top + 28 + request * 7 % 23  # spreads the dots, so that equal times do not cover each other
            marks.append(dot(axis.at(math.log10(max(time, LEAST_MS))), y, 2.5, "dot faint"))
        for time in (test.p50_ms, test.p99_ms):
            x = axis.at(math.log10(max(time, LEAST_MS)))
            marks += [line(x, top + 22, x, top + 58, "quantile")]
    quantiles = "; ".join(f"{name} p50 {test.p50_ms:.1f} ms, p99 {test.p99_ms:.1f} ms" for name, test in tests)
    return Plot(
        height + 26, marks, f"Latency of one-row requests: {quantiles}.", x_title="milliseconds, on a logarithmic scale"
    )
