"""What was measured: stored, pooled, and printed as a table of Markdown."""

import json
import statistics

from measuring import DIRECT
from suites import FIGURES, SUITES

FORMAT = 1


def store(result, path):
    with open(path, "w") as file:
        json.dump(result, file, indent=1)
        file.write("\n")


def load(path):
    """A stored run; ValueError where it is none."""
    with open(path) as file:
        result = json.load(file)
    if not isinstance(result, dict) or result.get("format") != FORMAT:
        raise ValueError(f"{path} was not written by this program")
    return result


def pool(results):
    """Several runs as one: the rounds of all of them."""
    pooled = {"format": FORMAT, "versions": {}, "titles": {}, "skipped": {}, "suites": {}}
    for key in ("machine", "accounting", "cores"):
        pooled[key] = "; or ".join(dict.fromkeys(result[key] for result in results))
    for result in results:
        pooled["titles"].update(result["titles"])
        pooled["skipped"].update(result["skipped"])
        for program, version in result["versions"].items():
            known = pooled["versions"].get(program)
            pooled["versions"][program] = version if known in (None, version) else f"{known} and {version}"
        for name, suite in result["suites"].items():
            into = pooled["suites"].setdefault(name, {"rounds": [], "thrown_away": [], "errors": []})
            for part in into:
                into[part] += suite[part]
    return pooled


def markdown(result, baseline):
    """The table, and what must be known to read it."""
    suites = {name: suite for name, suite in result["suites"].items() if name in SUITES}
    # Who was skipped has no title here, and no column.
    peers = [peer for peer in result["titles"] if any(values(suite, peer) for suite in suites.values())]
    lines = []
    if peers:
        lines.append("| one core for the proxy | " + " | ".join(result["titles"][peer] for peer in peers) + " |")
        lines.append("| --- |" + " --- |" * len(peers))
        for name, suite in suites.items():
            figure = FIGURES[SUITES[name].figure]
            cells = [_cell(suite, peer, _baseline(suite, peers, baseline), figure.digits) for peer in peers]
            lines.append(f"| {SUITES[name].title}: {figure.unit} | " + " | ".join(cells) + " |")
    else:
        lines.append("No round was completed.")
    return "\n".join(lines + [""] + _notes(result, suites, peers, baseline))


def values(suite, peer):
    """A peer's figures, round by round."""
    return [at["peers"][peer]["value"] for at in suite["rounds"] if "value" in at["peers"].get(peer, {})]


def ratios(suite, peer, to):
    """A peer's figures as multiples of another's in the same round."""
    pairs = [
        (at["peers"][peer]["value"], at["peers"][to]["value"])
        for at in suite["rounds"]
        if peer in at["peers"] and to in at["peers"]
    ]
    return [mine / other for mine, other in pairs if other > 0]


def _baseline(suite, peers, wanted):
    """The peer that a suite's figures are compared with: the wanted one, or else the first with figures."""
    there = [peer for peer in peers if values(suite, peer)]
    return wanted if wanted in there else next(iter(there), None)


def _cell(suite, peer, baseline, digits):
    figures = values(suite, peer)
    if not figures:
        return "–"
    median, least, most = statistics.median(figures), min(figures), max(figures)
    cell = f"{median:.{digits}f}"
    if len(figures) > 1:
        cell += f" ({least:.{digits}f}–{most:.{digits}f})"
    times = ratios(suite, peer, baseline)
    return cell + (f", {statistics.median(times):.2f} ×" if times else "")


def _notes(result, suites, peers, baseline):
    counts = {len(suite["rounds"]) for suite in suites.values()} or {0}
    rounds = f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
    notes = [
        f"Medians of {rounds} interleaved rounds (least–greatest); × is the median of each round's ratio to "
        f"{result['titles'].get(baseline, 'the first')}, or to the first in the row where that is not in it. "
        f"{result['machine']}; {result['cores']}; CPU time from {result['accounting']}."
    ] if peers else []
    versions = [f"{program} {version or '(of unknown version)'}" for program, version in result["versions"].items()]
    if versions:
        notes.append("Versions: " + ", ".join(versions) + ".")
    direct = [
        f"{statistics.median(times):.3f} ms ({SUITES[name].title})"
        for name, suite in suites.items()
        if (times := [at["peers"][DIRECT]["p50_ms"] for at in suite["rounds"] if DIRECT in at["peers"]])
    ]
    if direct:
        notes.append("Without a proxy: " + ", ".join(direct) + ".")
    steal = [at["steal"] for suite in suites.values() for at in suite["rounds"]]
    thrown = [percent for suite in suites.values() for percent in suite["thrown_away"]]
    if steal:
        note = f"{statistics.median(steal):.1f} % ({min(steal):.1f}–{max(steal):.1f})"
        notes.append(f"CPU time stolen by the hypervisor: {note}; rounds thrown away for it: {len(thrown)}.")
    elif thrown:
        note = f"up to {max(thrown):.1f} % of the CPU time"
        notes.append(f"All rounds were thrown away: the hypervisor stole {note}. Come back when it is quieter.")
    if result["skipped"]:
        notes.append("Left out: " + "; ".join(f"{what}: {why}" for what, why in result["skipped"].items()) + ".")
    errors = [
        f"{name}, {error['peer']}: {error['text']}" for name, suite in suites.items() for error in suite["errors"]
    ]
    if errors:
        notes.append("**Errors**, which have no figure: " + "; ".join(dict.fromkeys(errors)) + ".")
    return ["\n\n".join(notes)]
