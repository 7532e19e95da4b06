"""The flags of every verb, written down: a new one is a decision, not an accident. Settings belong to `--set`."""

import pytest
import typer

from xmc.cli.main import VERBS, WITHOUT_PLUGINS, app

FLAGS = {
    "train": "--config --data --device --dry-run --epochs --json --out --overwrite --plugin --resume --seed --set",
    "teach": "--data --device --json --out --set --teacher -k",
    "index": "--batch-size --device --dry-run --json --latency --memory --run --seed --set --target-recall -k",
    "labels": "--device --id --json --missing-ok --most-removed --run --text --to action file",
    "rerank": "--device --json --run --set",
    "search": "--allow --allowed --device --json --min-probability --out --queries --run -k text",
    "predict": "--allowed --batch-rows --device --engine --json --min-probability --moved --out --overwrite "
    "--redo-changed --run --scheduler --shards --skip-failed --workers -k",
    "serve": "--admin-token-file --allow-host --batch-queries --batch-window-ms --device --docs --host "
    "--insecure-no-auth --limit --no-playground --port --reload-s --run --token-file",
    "evaluate": "--beside --device --json --run --set --split",
    "check": "--alpha --device --fit-split --json --run --set --split names",
    "choose": "--device --estimator --json --log --out --run --runs --seed --temperature --truth words",
    "scale": "--budget --config --data --device --json --out --pairs --parameters --plugin --run --runs --seed --set "
    "words",
    "diagnose": "--device --json --run --seed",
    "export": "--format --json --out --run",
    "info": "--card --json --run words",
    "config": "--config --plugin --set",
    "import": "--format --json --on-bad-row --out --overwrite source",
    "privatise": "--bag-size --clip --data --epsilon --group-prefix --json --out --public --threshold",
    "plugins": "--failed --json --kind --requirements words",
    "doctor": "--json",
}


def command(verb):
    return typer.main.get_command(app).commands[verb]


def test_every_verb_is_listed():
    assert list(typer.main.get_command(app).commands) == list(VERBS) == list(FLAGS)


@pytest.mark.parametrize("verb", FLAGS)
def test_a_verb_has_these_flags_and_no_other(verb):
    found = sorted(flag for parameter in command(verb).params for flag in parameter.opts if flag != "--help")
    everywhere = [] if verb in WITHOUT_PLUGINS else ["--plugin-file"]
    assert found == sorted([*FLAGS[verb].split(), *everywhere])


@pytest.mark.parametrize("verb", FLAGS)
def test_every_flag_has_one_meaning_and_a_help_text(verb):
    for parameter in command(verb).params:
        assert not getattr(parameter, "secondary_opts", None), parameter.name
        if parameter.param_type_name == "option":
            assert parameter.help, parameter.name


def test_the_flags_before_the_verb():
    found = {flag for parameter in typer.main.get_command(app).params for flag in parameter.opts}
    assert found == {"--debug", "--version", "--install-completion", "--show-completion"}


@pytest.mark.parametrize("verb", ["", *FLAGS])
def test_help_of_every_verb(xmc_command, verb):
    code, out, err = xmc_command(*verb.split(), "--help")
    assert code == 0 and not err
    for flag in FLAGS.get(verb, "--debug --version").split():
        assert flag in ("words", "names") or flag in out
    if verb:
        assert VERBS[verb].__doc__.splitlines()[0][:60] in " ".join(out.split())


def test_version(xmc_command):
    from importlib import metadata

    assert xmc_command("--version") == (0, f"xmc-engine {metadata.version('xmc-engine')}\n", "")
