"""What was measured, kept as JSON, and RESULTS.md of all of it: the bars first, then each measurement
with its floors and its command."""
import json


def keep(folder, section):
    folder.mkdir(exist_ok=True)
    text = json.dumps(section, indent=2, ensure_ascii=False)
    (folder / f"{section['name']}.json").write_text(text + "\n")


def kept(folder, names):
    files = [folder / f"{name}.json" for name in names]
    return [json.loads(each.read_text()) for each in files if each.exists()]


def verdict(section, bar):
    if section["busy"]:
        return "invalid (the machine was busy)"
    return "pass" if bar["pass"] else "**fail**"


def bar_rows(sections):
    yield "| measurement | what | bar | median | quartiles | |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for section in sections:
        for bar in section["bars"]:
            yield (f"| {section['name']} | {bar['label']} | {bar['bar']} | {bar['median']} | "
                   f"{bar['quartiles']} | {verdict(section, bar)} |")


def summary(sections, names):
    bars = [(section, bar) for section in sections for bar in section["bars"]]
    counts = {"pass": 0, "**fail**": 0}
    for section, bar in bars:
        said = verdict(section, bar)
        counts[said] = counts.get(said, 0) + 1
    invalid = len(bars) - counts["pass"] - counts["**fail**"]
    yield (f"{counts['pass']} of {len(bars)} bars pass, {counts['**fail**']} fail"
           + (f", {invalid} are invalid" if invalid else "") + ".")
    missing = [name for name in names if name not in {each["name"] for each in sections}]
    if missing:
        yield ""
        yield f"Not measured yet: {', '.join(missing)}."


def measured(facts):
    """"Measured 2026-11-28 at 850434c on a CPU, 2 cores, 23 GiB, Linux 6.18.44.", what is known of it."""
    said = {"cpu": "{}", "cores": "{} cores", "memory": "{}", "kernel": "Linux {}"}
    where = [text.format(facts[name]) for name, text in said.items() if facts.get(name)]
    return (f"Measured {facts['date']}" + (f" at {facts['commit']}" if facts["commit"] else "") +
            (f" on {', '.join(where)}" if where else "") + ".")


def details(section):
    yield f"## {section['title']}"
    yield ""
    yield f"Again: `scripts/bench {section['name']}`"
    yield ""
    yield measured(section["measured"])
    yield ""
    if section["busy"]:
        used = ", ".join(f"{name} ({share:.0%} of a core)" for name, share in
                         sorted(section["busy"].items(), key=lambda each: -each[1])[:8])
        yield f"**Invalid**: other processes ran meanwhile: {used}."
        yield ""
    floors = section["floors"]
    yield (f"Floor in the same run: a byte to another process and back takes {floors['same']:.1f} µs "
           f"on one core, {floors['across']:.1f} µs across two.")
    yield ""
    yield from section["notes"]
    yield ""


def write(sections, names):
    lines = [
        "# What was measured",
        "",
        "Written by `scripts/bench`, from what `bench/results` keeps of each section when it is measured. "
        "Every bar is a ratio, or an amount, of sides that take turns in one run; the quartile on the "
        "wrong side must pass. Peers' configurations are in `bench/echo`, the models' in `bench/models`. "
        "Each section is a run of its own, with its own floor, and may be of another day and machine "
        "than the next. Its commit is the one that was measured, with `+` if files were changed in it; "
        "up to 90b06d6 it is the one that brought the figures.",
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
