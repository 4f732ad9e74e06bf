"""Ratios of interleaved pairs, held against a bar: the quartile on the wrong side must pass."""
import dataclasses
import statistics


@dataclasses.dataclass
class Bar:
    what: str
    wanted: str  # For people: "≤ 1.0×".
    values: list
    limit: float
    at_least: bool = False
    unit: str = "×"
    median: float = None  # The middle may have a limit of its own.

    def quartiles(self):
        if len(self.values) == 1:
            return [self.values[0]] * 3
        return statistics.quantiles(self.values, n=4, method="inclusive")

    def passes(self):
        low, middle, high = self.quartiles()
        if self.at_least:
            return low >= self.limit and (self.median is None or middle >= self.median)
        return high <= self.limit and (self.median is None or middle <= self.median)

    def said(self):
        """As it is kept, and as RESULTS.md says it."""
        low, middle, high = self.quartiles()
        return {"label": self.what, "bar": self.wanted, "median": f"{shown(middle)}{self.unit}",
                "quartiles": f"{shown(low)}–{shown(high)}" if len(self.values) > 1 else "one value",
                "pass": self.passes()}


@dataclasses.dataclass
class Section:
    name: str
    title: str
    measured: dict = dataclasses.field(default_factory=dict)  # When, of what and where.
    floors: dict = dataclasses.field(default_factory=dict)
    busy: dict = dataclasses.field(default_factory=dict)
    bars: list = dataclasses.field(default_factory=list)
    notes: list = dataclasses.field(default_factory=list)  # Lines of Markdown.

    def add(self, what, wanted, values, limit, **more):
        self.bars.append(Bar(what, wanted, values, limit, **more))

    def note(self, line=""):
        self.notes.append(line)

    def table(self, head, rows):
        self.note()
        self.note("| " + " | ".join(head) + " |")
        self.note("| " + " | ".join("---" for _ in head) + " |")
        for row in rows:
            self.note("| " + " | ".join(str(each) for each in row) + " |")
        self.note()

    def as_dict(self):
        """What is kept of it: what RESULTS.md says, rounded as it says it."""
        return {"name": self.name, "title": self.title, "measured": self.measured,
                "floors": {name: round(us, 1) for name, us in self.floors.items()},
                "busy": {name: round(share, 2) for name, share in self.busy.items()},
                "bars": [each.said() for each in self.bars], "notes": self.notes}


def spread(values, digits=1):
    """Median and quartiles for a table: "31.2 (30.8–33.0)"."""
    low, middle, high = Bar("", "", values, 0).quartiles()
    return f"{middle:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def shown(number):
    return f"{number:.3g}" if abs(number) < 100 else f"{number:.0f}"
