"""`icapd config check` and `config show`; and how every command loads its configuration."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

from icapd.cli.exits import Exit
from icapd.config.load import NOTHING, Loaded, load
from icapd.config.render import render_defaults, render_settings
from icapd.config.warnings import warnings
from icapd.errors import ConfigurationError, Problem
from icapd.plugins import gather_snapshot, installed_specs


def load_configuration(options: argparse.Namespace, flags: Mapping[str, str] = NOTHING) -> Loaded:
    """The file of --config under the environment, --set and then the command's own flags.

    Raises: ConfigurationError with every problem.
    """
    return load(options.config, installed_specs(), {**dict(options.set), **flags})


def run(options: argparse.Namespace) -> int:
    """Raises: ConfigurationError with every problem found."""
    if options.action == "check":
        return _check(options)
    if options.defaults:
        sys.stdout.write(render_defaults(installed_specs()))
    else:
        sys.stdout.write(render_settings(load_configuration(options).settings))
    return Exit.OK


def _check(options: argparse.Namespace) -> int:
    """Everything that `icapd serve` would find before it listens, but for whether the addresses are free."""
    from icapd.service import confinement_of, try_rules
    from icapd.worker.planning import make_plan
    from icapd.worker.selftest import notes_of

    if options.file and options.config:
        raise ConfigurationError([Problem("", "one configuration at a time: FILE or --config FILE")])
    options.config = options.file or options.config
    loaded = load_configuration(options)
    settings = loaded.settings
    snapshot = gather_snapshot(settings.engines, loaded.resolve, selection=settings.selection)
    trial = try_rules(snapshot, confinement_of(loaded))
    plan = make_plan(loaded, snapshot)
    files = sum(len(engine.material) for engine in snapshot.all_engines)
    own_rules = f" behind {len(settings.policy)} of your own rules" if settings.policy else ""
    for problem in warnings(loaded):
        print(f"warning: {problem}", file=sys.stderr)
    print(f"{options.config or 'The defaults'}: no problems")
    print(f"services  {len(settings.service)}: {' '.join(service.path for service in settings.service)}")
    print(f"policy    {', '.join(sorted(loaded.policies))}{own_rules}")
    print(f"engines   {', '.join(engine.name for engine in snapshot.all_engines)}; {files} files of rules and lists")
    print(f"ruleset   {snapshot.ruleset}")
    print(f"ISTag     {plan.istag}")
    for note in notes_of(trial):
        print(f"note      {note}")
    return Exit.OK
