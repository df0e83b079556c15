"""The result as a Markdown table."""

HEAD = ["program", "case", "messages", "doubled", "windows and notices", "at the proxy", "verdict"]


def cell(text):
    return str(text).replace("|", "\\|").replace("\n", " ")


def disposition(login):
    """What became of a login, and why."""
    reason = login.get("because") or login.get("reason") or login.get("outcome")
    upgraded = ", upgraded" if login["upgraded"] else ""
    return f"{login['disposition']} ({reason}{upgraded})" if reason else login["disposition"]


def cells(row, version):
    return [
        f"{row.program} {version}",
        row.case,
        f"{sum(row.messages.values())} of {row.expected}",
        row.doubled,
        "; ".join(row.windows) or "none",
        ", ".join(map(disposition, row.logins)) or "nothing",
        "; ".join(row.faults) or "right",
    ]


def markdown(rows, versions):
    lines = [HEAD, ["---"] * len(HEAD), *(cells(row, versions[row.program]) for row in rows)]
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines)
