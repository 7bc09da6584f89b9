"""`evalkit data`: looking at data of one's own before it is trained on."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evalkit.cli.app import Commands, cli, echo_json
from evalkit.errors import RecipeError, did_you_mean

if TYPE_CHECKING:
    from evalkit.sources.inspection import Report
    from evalkit.sources.token_lengths import TokenReport

_IDS_SHOWN = 24
_KEPT = {
    "filter": "after the filter",
    "usable": "usable",
    "deduplicate": "without duplicates",
    "portion": "in this portion",
    "taken": "taken",
}


@cli.group(cls=Commands)
def data() -> None:
    """Data of one's own: prompts, answers, preferences, conversations."""


@data.command("check")
@click.argument("source", metavar="FILE|FOLDER|DATASET-ID")
@click.option("--columns", "columns", multiple=True, metavar="FIELD=COLUMN",
              help="Which column is which: prompt=question; 'FIELD=' leaves one out.")  # fmt: skip
@click.option("--split", help="Split of a folder or dataset.")
@click.option("--config", help="Configuration of a dataset.")
@click.option("--revision", help="Branch, tag or commit of a dataset.")
@click.option("--filter", "filters", multiple=True, metavar="CONDITION",
              help="E.g. '{column: score, min: 4}'; given twice, both must hold.")  # fmt: skip
@click.option("--set", "others", multiple=True, metavar="OPTION=VALUE",
              help="Any other option of the source, e.g. deduplicate=true.")  # fmt: skip
@click.option("--model", metavar="PATH_OR_ID", help="Count tokens with this model's tokenizer.")
@click.option("--max-length", type=click.IntRange(min=1),
              help="Tell what training.max_length would cut; needs --model.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check_data(source: str, model: str | None, max_length: int | None, as_json: bool,
               **flags: Any) -> int:  # fmt: skip
    """Check data as a recipe would read it; exit code 1 if there are problems."""
    from evalkit.pipeline import plugins
    from evalkit.roles import PluginRef
    from evalkit.sources import inspection

    if max_length is not None and model is None:
        raise click.UsageError("--max-length needs --model")
    reference = PluginRef.model_validate(_reference(source, flags))
    opened = plugins.make("sources", reference)
    lacking = plugins.missing_packages(opened)
    if lacking:
        raise RecipeError(f"{source} cannot be read here", problems=lacking)
    found = opened.examine()
    report = inspection.inspect(found, opened.options, reference)
    tokens = _measured(found.records, model, max_length)
    if as_json:
        echo_json(inspection.as_json(report) | {"tokens": asdict(tokens) if tokens else None})
    else:
        click.echo("\n".join([*_lines(report), *_token_lines(tokens), "", "in a recipe:"]))
        click.echo("\n".join(f"  {line}" for line in report.recipe.splitlines()))
    return 0 if report.ok else 1


def _reference(source: str, flags: dict[str, Any]) -> dict[str, Any]:
    """The source plug-in that a file, a folder or an id asks for, with its options."""
    from evalkit.recipe_document import Document, apply_overrides, flag_value

    named = {"dataset": source} if _is_dataset(source) else {"path": source}
    options = {key: flags[key] for key in ("split", "config", "revision") if flags[key] is not None}
    if flags["columns"]:
        pairs = (_pair(text) for text in flags["columns"])
        options["columns"] = {field: column or None for field, column in pairs}
    if flags["filters"]:
        options["filter"] = [flag_value(text, f"--filter {text}") for text in flags["filters"]]
    name = "dataset" if "dataset" in named else "file"
    document = Document({"name": name, **named, **options})
    apply_overrides(document, flags["others"])
    return dict(document.data)


def _is_dataset(source: str) -> bool:
    """Whether it is a Hub id. A path that is not there is told so by the file source."""
    from evalkit.sources.readers import ending

    path = Path(source).expanduser()
    if path.exists() or source.startswith((".", "/", "~")) or ending(source):
        return False
    if source.count("/") == 1:
        return True
    near = [one.name for one in Path().iterdir() if ending(one.name)]
    raise RecipeError(f"there is no file {source}, and no dataset has such an id",
                      did_you_mean(source, near))  # fmt: skip


def _pair(text: str) -> tuple[str, str]:
    field, equals, column = text.partition("=")
    if not equals or not field:
        raise click.UsageError(f"--columns takes FIELD=COLUMN, not '{text}'")
    return field.strip(), column.strip()


def _measured(records: Any, model: str | None, max_length: int | None) -> TokenReport | None:
    from evalkit.sources.token_lengths import measure

    return measure(records, model, max_length) if model is not None and records else None


# --- in words -------------------------------------------------------------------------------


def _lines(report: Report) -> list[str]:
    files = f" in {len(report.files)} files" if len(report.files) > 1 else ""
    lines = [
        f"{report.data}: {_count(report.rows, 'row')}{files}",
        f"recognised: {report.recognised}",
    ]
    extra = [f"{field} <- {column}" for field, column in report.fields.items() if field != column]
    if extra:
        lines.append(f"columns:    {', '.join(extra)}")
    if report.unused:
        lines.append(f"not used:   {', '.join(report.unused)}")
    kept = ", ".join(f"{number:,} {_KEPT[step]}" for step, number in report.kept.items())
    repeated = report.repeated_prompts
    lines += [
        f"kept:       {kept}",
        f"duplicates: {_count(repeated, 'prompt')} in several rows" if repeated
        else "duplicates: none",
    ]  # fmt: skip
    lines += [f"note:       {note}" for note in report.notes]
    lines += _problem_lines(report)
    if report.categories:
        shown = [f"{name} {number:,}" for name, number in list(report.categories.items())[:12]]
        rest = len(report.categories) - len(shown)
        more = f", and {rest} more" if rest > 0 else ""
        lines.append(f"categories: {', '.join(shown)}{more}")
    rows = {
        f"{part}, {unit}": lengths
        for part, units in report.lengths.items()
        for unit, lengths in units.items()
    }
    return [*lines, "", *_table(rows)] if rows else lines


def _problem_lines(report: Report) -> list[str]:
    if not report.problem_rows:
        return ["problems:   none"]
    left_out = " (left out by bad_rows: drop)" if report.ok else ""
    lines = [f"problems:   {_count(report.problem_rows, 'row')} cannot be used{left_out}"]
    for column, what, rows in report.problems_by_kind[:12]:
        lines.append(f"  {rows:>8,} x {f'column {column!r} ' if column else ''}{what}")
    lines += [f"  {one.where}  {one.message}" for one in report.problems]
    rest = report.problem_rows - len(report.problems)
    return [*lines, f"  and {rest:,} more"] if rest else lines


def _table(rows: dict[str, dict[str, float]]) -> list[str]:
    names = list(next(iter(rows.values())))
    width = max(len(label) for label in rows)
    lines = [" " * width + "".join(f"{name:>10}" for name in names)]
    for label, values in rows.items():
        lines.append(f"{label:<{width}}" + "".join(f"{values[name]:>10,}" for name in names))
    return lines


def _token_lines(tokens: TokenReport | None) -> list[str]:
    if tokens is None:
        return []
    few = f" ({tokens.measured:,} of {tokens.of:,} examples)" if tokens.measured < tokens.of else ""
    lines = ["", *_table({f"{part}, tokens": row for part, row in tokens.lengths.items()})]
    if tokens.max_length is not None:
        lines.append(
            f"max_length {tokens.max_length:,}: responses cut in"
            f" {_count(tokens.cut, 'example')}; {_count(tokens.dropped, 'example')} dropped,"
            f" as the prompt alone fills it{few}"
        )
    lines += [
        "",
        f"tokenizer of {tokens.model}{few}",
        f"  chat template: {tokens.template}; BOS tokens: {tokens.bos};"
        f" end of turn: {tokens.end_of_turn!r}",
        *_bos_lines(tokens),
        f"  as training sees {tokens.preview.id}:",
        *_preview_lines("prompt", tokens.preview.prompt_token_ids, tokens.preview.prompt),
    ]
    if tokens.preview.response_token_ids:
        preview = tokens.preview
        lines += _preview_lines("response", preview.response_token_ids, preview.response)
    return lines


def _bos_lines(tokens: TokenReport) -> list[str]:
    if not tokens.bos_missing:
        return []
    return [
        "  BOS: the tokenizer begins other text with one; a recipe that trains this model says"
        " base.without_bos"
    ]


def _preview_lines(part: str, ids: tuple[int, ...], text: str) -> list[str]:
    shown = " ".join(str(one) for one in ids[:_IDS_SHOWN])
    more = f" ... ({len(ids):,} tokens)" if len(ids) > _IDS_SHOWN else ""
    cut = text if len(text) <= 400 else f"{text[:200]} ... {text[-200:]}"
    return [f"    {part:<9}{shown}{more}", f"             {cut!r}"]


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
