"""`optout` and `python -m optout_ops`.

Exit codes: 0 all done; 1 some failed; 2 the call, a file or a setting is wrong; 3 stopped by a guard; 4 a service is
out of reach or does not allow it; 130 interrupted.
"""

import os
import sys
from collections.abc import Sequence

import typer

from optout_ops.cli import changing, health, looking, publishing, replaying
from optout_ops.cli.terminal import say
from optout_ops.exits import Exit, OpsError

app = typer.Typer(
    help="See, understand and replay the dead letters of SMS opt-ins. docs/operate.md shows it in use.",
    epilog="Exit codes: 0 all done, 1 some failed, 2 wrong call, file or setting, 3 stopped by a guard,"
    " 4 out of reach or not allowed, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
dead_letters = typer.Typer(help="Look at, replay, archive, mend and remove dead letters.", no_args_is_help=True)
app.add_typer(dead_letters, name="dlq")
publishing.register(app)
health.register(app)
looking.register(dead_letters)
replaying.register(dead_letters)
changing.register(dead_letters)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit code."""
    try:
        code = app(None if argv is None else list(argv), prog_name="optout", standalone_mode=False)
    except OpsError as error:
        say(f"Error: {error}")
        return error.exit
    except typer.TyperException as error:
        if message := error.format_message():
            say(f"Error: {message}; `--help` tells more")
        return Exit.USAGE
    except (BrokenPipeError, SystemExit):
        # Whoever read the output had seen enough; Typer makes an exit of it, Python would complain again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE
    except (KeyboardInterrupt, typer.Abort):
        say("Interrupted. Nothing is lost; run the same command again to go on.")
        return Exit.INTERRUPTED
    return int(code or 0)


if __name__ == "__main__":
    sys.exit(main())
