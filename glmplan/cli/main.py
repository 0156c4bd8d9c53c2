"""The click group of all commands. A command's module is imported only when it runs, so that start-up stays quick."""

import importlib
import os
import sys
from typing import NoReturn

import click

from glmplan import __version__
from glmplan.errors import GlmplanError

# command -> (module, what it does, in one line)
COMMANDS: dict[str, tuple[str, str]] = {
    "quickstart": ("glmplan.cli.quickstart", "The whole loop on this machine: probe, plan, train, validate, report."),
    "plan": ("glmplan.cli.plan", "Search every legal layout and write the best one as plan.json."),
    "estimate": ("glmplan.cli.estimate", "Cost one given layout, with the full breakdown."),
    "explain": ("glmplan.cli.explain", "Say in sentences why a plan's layout wins and what binds it."),
    "compare": ("glmplan.cli.compare", "Lay plans side by side and say what sets them apart."),
    "whatif": ("glmplan.cli.whatif", "Change a figure of the machine, stack, job or layout and see what it does."),
    "sensitivity": ("glmplan.cli.sensitivity", "What throughput and cost hang on, and what an upgrade is worth."),
    "scale": ("glmplan.cli.scale", "Plan a job on growing numbers of GPUs: strong and weak scaling."),
    "mixed": ("glmplan.cli.mixed", "Split one model over several kinds of GPUs, stage by stage."),
    "check": ("glmplan.cli.check", "Lint a Megatron, torchtitan, DeepSpeed or NeMo launch configuration."),
    "export": ("glmplan.cli.export", "Write a plan as a Megatron, torchtitan, DeepSpeed or NeMo configuration."),
    "report": ("glmplan.cli.report", "Write a plan (and its run) as one self-contained HTML page."),
    "codesign": ("glmplan.cli.codesign", "Find the best machines, networks and batches: days, money, energy, GPUs."),
    "tune": ("glmplan.cli.tune", "Measure in short real runs what the cost model cannot know, and keep the fastest."),
    "dry-run": ("glmplan.cli.dry_run", "Count a training step of any size without devices, beside the cost model."),
    "train": ("glmplan.cli.train", "Train a plan with the built-in PyTorch trainer."),
    "generate": ("glmplan.cli.generate", "Continue a text with a trained model."),
    "weights": ("glmplan.cli.weights", "Write a run's weights in Hugging Face form, and check such a folder."),
    "validate": ("glmplan.cli.validate", "Hold predictions against measurements."),
    "calibrate": ("glmplan.cli.calibrate", "Fit the few constants of a software stack to measurements."),
    "kernels": (
        "glmplan.cli.kernels",
        "Hold matmul, attention and collective predictions against unseen measurements.",
    ),
    "probe": ("glmplan.cli.probe", "Measure this machine and write it as a cluster profile."),
    "data": ("glmplan.cli.data", "Prepare text as token shards."),
    "gpu": ("glmplan.cli.gpu", "Hold predictions against real training steps on this machine's GPU."),
    "hardware": ("glmplan.cli.hardware", "List, show and check hardware profiles."),
    "models": ("glmplan.cli.models", "List and show model presets."),
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and help lines without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; the commands are {', '.join(COMMANDS)}"
            raise click.UsageError(f"no command {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="glmplan")
def cli() -> None:
    """Plans, proves and launches the training of large language models on real clusters.

    Start with `glmplan quickstart`. Results go to stdout, progress and notes to stderr.
    Exit codes: 0 done, 2 bad input, 3 nothing fits, 4 no data to predict from.
    """


def main() -> NoReturn:
    """Runs the command line; an expected error becomes one line on stderr and its exit code."""
    try:
        code = cli.main(standalone_mode=False)
        sys.stdout.flush()
    except GlmplanError as error:
        _say(str(error))
        sys.exit(error.exit_code)
    except click.exceptions.Abort:
        _say("interrupted")
        sys.exit(130)
    except KeyboardInterrupt:
        _say("interrupted")
        sys.exit(130)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(2)
    except click.ClickException as error:
        _say(error.format_message())
        sys.exit(2)
    except BrokenPipeError:
        # The reader closed early (glmplan ... | head). Point stdout elsewhere so that the exit is quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    sys.exit(code if isinstance(code, int) else 0)


def _say(message: str) -> None:
    for line in message.splitlines():
        click.echo(f"glmplan: {line}", err=True)
