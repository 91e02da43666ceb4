"""`optout` and `python -m optout_ops`.

Exit codes: 0 all done; 1 some failed; 2 the call, a file or a setting is wrong; 3 stopped by a guard; 4 a service is
out of reach or does not allow it; 130 interrupted.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

from optout_ops.signals import ending_at_once, raising_interrupts

# The libraries take a second to import.
with ending_at_once():
    import typer

    from optout_core import __version__
    from optout_core.masking import show as masked
    from optout_ops.cli import (
        check,
        consent_erase,
        consent_export,
        consent_migrate,
        consent_prune,
        consent_show,
        consent_verify,
        doctor,
        edit,
        export,
        find,
        import_,
        list_,
        now,
        plan,
        purge,
        replay,
        replays,
        report,
        send,
        show,
        status,
        summary,
    )
    from optout_ops.cli.options import command
    from optout_ops.cli.outside import Outside
    from optout_ops.cli.streams import begin, give_up_output, output_failure
    from optout_ops.cli.terminal import out, say, show_json
    from optout_ops.exits import ExitCode, OpsError

app = typer.Typer(
    help="See, understand and replay the dead letters of SMS opt-ins. docs/operate.md shows it in use.",
    epilog="Exit codes: 0 all done, 1 some failed, 2 wrong call, file or setting, 3 stopped by a guard,"
    " 4 out of reach or not allowed, 130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
dead_letters = typer.Typer(help="Look at, replay, archive, correct and remove dead letters.", no_args_is_help=True)
app.add_typer(dead_letters, name="dlq")
consent = typer.Typer(help="Look into the consent ledger, prove it, verify it, and forget.", no_args_is_help=True)
app.add_typer(consent, name="consent")

_COMMANDS: Mapping[str, Callable[..., int]] = {
    "send": send.send,
    "check": check.check,
    "doctor": doctor.doctor,
    "replays": replays.replays,
    "status": now.status,
    "find": find.find,
    "report": report.report,
}
_DEAD_LETTER_COMMANDS: Mapping[str, Callable[..., int]] = {
    "summary": summary.summary,
    "list": list_.list_,
    "show": show.show,
    "plan": plan.plan,
    "replay": replay.replay,
    "status": status.status,
    "export": export.export,
    "import": import_.import_,
    "edit": edit.edit,
    "purge": purge.purge,
}
_CONSENT_COMMANDS: Mapping[str, Callable[..., int]] = {
    "show": consent_show.show,
    "export": consent_export.export,
    "verify": consent_verify.verify,
    "erase": consent_erase.erase,
    "prune": consent_prune.prune,
    "migrate": consent_migrate.migrate,
}
with ending_at_once():
    for _name, _function in _COMMANDS.items():
        command(app, _name, _function)
    for _name, _function in _DEAD_LETTER_COMMANDS.items():
        command(dead_letters, _name, _function)
    for _name, _function in _CONSENT_COMMANDS.items():
        command(consent, _name, _function)


def _show_version(asked: bool) -> None:  # noqa: FBT001 - Typer's callback
    if asked:
        out().print(__version__, markup=False)
        raise typer.Exit


@app.callback()
def _global_options(
    asked: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass


def main(argv: Sequence[str] | None = None, outside: Outside | None = None) -> int:
    """Run the command line.

    Args:
        argv: The arguments; those of the process when left out.
        outside: What the commands reach outside themselves; the real things when left out.

    Returns:
        The exit code.
    """
    begin()
    with raising_interrupts():
        code = _run(None if argv is None else list(argv), outside or Outside())
        if (failure := output_failure()) is None:
            return code
        say(
            f"Error: standard output cannot be written ({failure}); what the command did is done, and its results are"
            " not whole; send them elsewhere"
        )
        return code or ExitCode.USAGE


def _run(argv: list[str] | None, outside: Outside) -> int:
    try:
        code = app(argv, prog_name="optout", standalone_mode=False, obj=outside)
    except OpsError as error:
        return _refuse(argv, str(error), error.exit)
    except typer.TyperException as error:
        message = error.format_message()
        return (
            _refuse(argv, f"{message.rstrip('.')}; `--help` tells more", ExitCode.USAGE) if message else ExitCode.USAGE
        )
    except (BrokenPipeError, SystemExit):
        # Typer makes the second of the first. Only what writes line by line and changes nothing ends like this.
        give_up_output()
        return ExitCode.DONE
    except OSError:
        # Typer's help is written past the streams that drop what cannot be written.
        if output_failure() is None:
            raise
        return ExitCode.DONE
    except (KeyboardInterrupt, typer.Abort):
        say("Interrupted. Nothing is lost; run the same command again to go on.")
        return ExitCode.INTERRUPTED
    return ExitCode(code or 0)


def _refuse(argv: list[str] | None, why: str, code: ExitCode) -> ExitCode:
    say(f"Error: {why}")
    if "--json" in (sys.argv if argv is None else argv):
        show_json({"error": {"code": code.name, "exit": int(code), "message": masked(why)}})
    return code


if __name__ == "__main__":
    sys.exit(main())
