"""Commands about where a registered version comes from, and whether it can be made again."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from qure.cli.application import app
from qure.cli.options import PARAMETERS, Json, Parameters, print_json, settings_for
from qure.errors import StageFailed

Address = Annotated[
    str, typer.Argument(help="models:/NAME@ALIAS or models:/NAME/VERSION, for example qure-cirr@champion.")
]


@app.command()
def lineage(address: Address, params: Parameters = PARAMETERS, as_json: Json = False) -> None:
    """Where a registered model comes from: data, code, settings, runs, and who made it champion when and why."""
    settings = settings_for(params)
    from qure.registry.lineage import lineage as lineage_of

    facts = lineage_of(settings, address)
    if as_json:
        print_json(facts)
        return
    for line in lines(facts):
        typer.echo(line)


@app.command()
def reproduce(
    address: Address,
    params: Parameters = PARAMETERS,
    folder: Annotated[Path | None, typer.Option(help="Worktree to make; below .work/ when left out.")] = None,
    run: Annotated[
        bool, typer.Option("--run", help="Do it, and compare the bytes; else the commands are shown.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a registered model again from git, DVC and its settings; exit code 1 when the bytes differ."""
    settings = settings_for(params)
    from qure.registry.reproduction import plan, rebuild, script

    name = address.removeprefix("models:/").replace("/", "-").replace("@", "-")
    planned = plan(settings, address, folder or Path(".work") / "reproduced" / name)
    for warning in planned.warnings:
        typer.secho(f"warning: the environment differs: {warning}", err=True, fg=typer.colors.YELLOW)
    if not run:
        if as_json:
            commands = [step.line() for step in planned.steps]
            print_json({"model": planned.address, "commands": commands, "settings": planned.settings})
            return
        typer.echo("\n".join(script(planned)))
        return
    found = rebuild(settings, planned)
    if as_json:
        print_json(found)
    else:
        for name, same in found["files"].items():
            typer.echo(f"{'identical' if same else 'DIFFERS  '}  {name}")
    if not found["identical"]:
        raise StageFailed(f"{planned.address} was made again in {planned.folder}, and not byte by byte the same")


def lines(facts: dict[str, Any]) -> list[str]:
    """What `qure lineage` prints."""
    data, code, environment = facts["data"], facts["code"], facts["environment"]
    runs, aliases = facts["runs"], ", ".join(facts["aliases"])
    said = [
        f"{facts['name']} version {facts['version']}" + (f" ({aliases})" if aliases else ""),
        f"model        {facts['model']['fingerprint']}",
        f"backbone     {facts['model']['backbone'] or 'unknown'}",
        f"data         {data['fingerprint'] or 'unknown'}, data.dvc at {data['revision'] or 'no known commit'}",
        f"code         {code['commit'] or 'unknown'} of {code['repository'] or 'an unknown repository'}",
        f"search       {facts['search']}",
        f"image        {environment.get('image', 'none')}",
        f"environment  {', '.join(f'{name} {value}' for name, value in environment.items() if name != 'image')}",
    ]
    for stage in ("pipeline", "train", "evaluate", "register"):
        found = runs.get(stage) or []
        for run in found if isinstance(found, list) else [found]:
            said.append(f"{stage + ' run':<12} {run['id']} {run['name']}")
    said += [f"report       {place}" for place in facts["reports"]]
    said += [f"parameter    {name}: {value}" for name, value in _parameters(facts["settings"] or {})]
    for change in facts["champion"]:
        before = f", before it version {change['previous']}" if change["previous"] else ""
        who = f" by {change['by']}" if change["by"] else ""
        became = "champion" if change["version"] == facts["version"] else f"version {change['version']} followed it"
        said.append(f"{change['at']}  {became}: {change['reason']}{who}{before}: {change['why']}")
        if change["command"]:
            said.append(f"             {change['command']}" + (f", run {change['run']}" if change["run"] else ""))
    return said + [f"missing      {one}" for one in facts["missing"]]


def _parameters(settings: dict[str, Any]) -> list[tuple[str, str]]:
    """One line each, with the key that params.yaml has for it; of both training sets."""
    from qure.tracking.entries import flattened

    return [(key, json.dumps(value, ensure_ascii=False)) for key, value in flattened(settings).items()]
