"""`optout replays`."""

from optout_ops.cli.options import Reach
from optout_ops.cli.outside import Outside
from optout_ops.cli.terminal import out, plain, show_json, show_table
from optout_ops.exits import ExitCode
from optout_ops.replay.history import list_replays


def replays(outside: Outside, reach: Reach) -> int:
    """List the replays in the audit trail, the newest first."""
    settings, trail = outside.settings(reach.namespace), outside.trail()
    found = list_replays(trail.read(), settings.namespace_host)
    if reach.as_json:
        show_json(found)
    elif not found:
        out().print(f"The audit trail {trail.path} knows no replay in this namespace.", markup=False, soft_wrap=True)
    else:
        show_table(
            ("replay", "began", "by", ">sent", "ended", "note"),
            [
                (
                    plain(str(each["replay"])),
                    plain(str(each["at"])[:19]),
                    plain(str(each["who"])),
                    f"{each['sent']:,}",
                    plain(str(each["ended"] or "still runs, or was cut off")),
                    plain(str(each["note"] or "")),
                )
                for each in found
            ],
        )
    return ExitCode.DONE
