"""RESULTS.md: the bars first, then each measurement with its floors and its command."""
from rig.ratios import shown


def verdict(section, bar):
    if section.busy:
        return "invalid (the machine was busy)"
    return "pass" if bar.passes() else "**fail**"


def bar_rows(sections):
    yield "| measurement | what | bar | median | quartiles | |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for section in sections:
        for bar in section.bars:
            low, middle, high = bar.quartiles()
            each = f"{shown(low)}–{shown(high)}" if len(bar.values) > 1 else "one value"
            yield (f"| {section.name} | {bar.what} | {bar.wanted} | {shown(middle)}{bar.unit} | "
                   f"{each} | {verdict(section, bar)} |")


def summary(sections, names):
    bars = [(section, bar) for section in sections for bar in section.bars]
    counts = {"pass": 0, "**fail**": 0}
    for section, bar in bars:
        said = verdict(section, bar)
        counts[said] = counts.get(said, 0) + 1
    invalid = len(bars) - counts["pass"] - counts["**fail**"]
    yield (f"{counts['pass']} of {len(bars)} bars pass, {counts['**fail**']} fail"
           + (f", {invalid} are invalid" if invalid else "") + ".")
    missing = [name for name in names if name not in {each.name for each in sections}]
    if missing:
        yield ""
        yield f"Not measured here yet: {', '.join(missing)}."


def details(section):
    yield f"## {section.title}"
    yield ""
    yield f"Again: `scripts/bench {section.name}`"
    yield ""
    if section.busy:
        used = ", ".join(f"{name} ({share:.0%} of a core)" for name, share in
                         sorted(section.busy.items(), key=lambda each: -each[1])[:8])
        yield f"**Invalid**: other processes ran meanwhile: {used}."
        yield ""
    yield (f"Floor in the same run: a byte to another process and back takes "
           f"{section.floors['same']:.1f} µs on one core, {section.floors['across']:.1f} µs across "
           "two.")
    yield ""
    yield from section.notes
    yield ""


def write(facts, sections, names):
    lines = [
        "# What was measured",
        "",
        "Written by `scripts/bench`. Every bar is a ratio, or an amount, of sides that take turns in "
        "one run; the quartile on the wrong side must pass. Peers' configurations are in "
        "`bench/echo`, the models' in `bench/models`. Each section is a run of its own, with its own "
        "floor; sections may be from different runs.",
        "",
        ", ".join(f"{name}: {value}" for name, value in facts.items()) + ".",
        "",
        *summary(sections, names),
        "",
        *bar_rows(sections),
        "",
    ]
    for section in sections:
        lines += details(section)
    # One empty line at most.
    tidy = [line for i, line in enumerate(lines) if line or (i > 0 and lines[i - 1])]
    return "\n".join(tidy).rstrip() + "\n"
