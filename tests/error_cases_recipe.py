"""Mistakes in the recipe itself, and in what is typed about it."""

from error_cases import Case, Desk


def _text(name: str, content: str | bytes) -> "object":
    def prepare(desk: Desk) -> None:
        desk.write(name, content)

    return prepare


def _per_iteration(second: str) -> dict[str, str]:
    """What is different in the second iteration."""
    return {"iterations: 2": f"iterations: 2\n    per_iteration:\n      - {{}}\n      - {second}"}


def _training(settings: str) -> dict[str, str]:
    return {"training: {": f"training: {{{settings}, "}


def _gate(options: str) -> dict[str, str]:
    return {"iterations: 2": f"iterations: 2\n    gate: {{{options}}}"}


EVALUATION = """\
evaluation:
  judge: rule
  benchmarks:
    - {name: lm_eval_tasks, tasks: [pocket_exact], include_path: pocket, limit: 4}
    - {name: alpaca_eval, instructions: {name: pocket, split: open, count: 4}}
    - {name: mt_bench, questions: {name: pocket, split: two_turn, count: 4}}
"""
PLUGINS = [
    Case("unknown-method", edits={"name: sppo": "name: sspo"}),
    Case("unknown-judge", edits={"    judge: rule": "    judge: rulle"}),
    Case(
        "unknown-evaluation-judge",
        edits={"evaluation:\n  judge: rule": "evaluation:\n  judge: gpt4"},
    ),
    Case(
        "unknown-baseline",
        edits={"evaluation:\n": "evaluation:\n  baselines: [phi_2, sppo_gema]\n"},
    ),
    Case("unknown-scheme", edits={"[w4a16_rtn]": "[fp-8]"}),
    Case("unknown-source", edits={"prompts: {name: pocket": "prompts: {name: poket"}),
    Case("unknown-benchmark", edits={"name: mt_bench": "name: mtbench"}),
    Case("unknown-engine", edits={"seed: 3": "seed: 3\nengine: trasformers"}),
    Case("unknown-builder", edits={"base: {model: base}": "base: {builder: poket}"}),
    Case("unknown-task", edits={"[pocket_exact]": "[pocket_exat]"}, slow=True),
    Case("unknown-option", edits={"samples: 2": "sample: 2"}),
    Case("option-of-wrong-type", edits={"samples: 2": "samples: many"}),
    Case("option-out-of-range", edits={"samples: 2": "samples: 1"}),
    Case("option-of-unknown-choice", edits={"samples: 2": "form: pairs"}),
    Case("option-missing", edits={"split: self_play, ": ""}),
    Case("no-name-beside-options", edits={"method: {name: sppo, samples": "method: {samples"}),
    Case(
        "several-at-once",
        edits={"samples: 2": "etta: 2", "[w4a16_rtn]": "[fp-8]", "license": "licence"},
    ),
]
YAML = [
    Case("no-recipe", "train nowhere.yaml"),
    Case("recipe-misspelt", "train mien.yaml"),
    Case("recipe-is-a-folder", "train base", code=2),
    Case("recipe-empty", prepare=_text("mine.yaml", "")),
    Case("recipe-only-comments", prepare=_text("mine.yaml", "# nothing yet\n")),
    Case("recipe-is-a-list", prepare=_text("mine.yaml", "- name: x\n- seed: 1\n")),
    Case("recipe-unclosed-bracket", edits={"[w4a16_rtn]": "[w4a16_rtn"}),
    Case("recipe-with-tabs", edits={"  judge: rule": "\tjudge: rule"}),
    Case("recipe-indented-wrongly", edits={"    judge: rule": "   judge: rule"}),
    Case("recipe-key-twice", edits={"seed: 3": "seed: 3\nseed: 4"}),
    Case("recipe-not-utf8", prepare=_text("mine.yaml", "name: Caf\xe9\n".encode("latin-1"))),
    Case("recipe-is-binary", prepare=_text("mine.yaml", b"PK\x03\x04\x00\x00\x08")),
    Case("recipe-number-as-key", edits={"seed: 3": "seed: 3\n7: x"}),
    Case("recipe-alias-to-itself", edits={"card: {title": "x: &x [*x]\ncard: {title"}),
]
KEYS = [
    Case("unknown-key", edits={"variants:": "varients:"}),
    Case(
        "stage-wrong-with-calibrated-variant",
        edits={"batch_size: 2": "batchsize: 2", "[w4a16_rtn]": "[w4a16_gptq]"},
    ),
    Case("unknown-key-deep", edits={"batch_size: 2": "batchsize: 2"}),
    Case("missing-section", edits={"card: {title: Plain, license: apache-2.0}\n": ""}),
    Case("missing-key", edits={"title: Plain, ": ""}),
    Case("text-for-a-number", edits={"iterations: 2": "iterations: two"}),
    Case("number-for-a-list", edits={"[w4a16_rtn]": "3"}),
    Case("list-for-a-section", edits={"{namespace: me}": "[me]"}),
    Case("number-out-of-range", edits={"learning_rate: 1.0e-4": "learning_rate: 2"}),
    Case("negative-seed", edits={"seed: 3": "seed: -1"}),
    Case("unknown-choice", edits={"batch_size: 2": "optimizer: adam"}),
    Case("language-no", edits={"title: Plain, ": "title: Plain, language: [no], "}),
    Case("revision-of-digits", edits={"{model: base}": "{model: base, revision: 1234567}"}),
    Case("batches-do-not-divide", edits={"batch_size: 2": "batch_size: 4, micro_batch_size: 3"}),
    Case("base-twice", edits={"{model: base}": "{model: base, builder: pocket}"}),
    Case("base-not-given", edits={"{model: base}": "{revision: main}"}),
    Case("scheme-twice", edits={"[w4a16_rtn]": "[w4a16_rtn, w4a16-rtn]"}),
    Case("iteration-with-unknown-key", edits=_per_iteration("{training: {batchsize: 3}}")),
    Case(
        "iteration-with-too-large-a-value", edits=_per_iteration("{training: {learning_rate: 3}}")
    ),
    Case("iteration-with-unknown-option", edits=_per_iteration("{method: {etta: 2}}")),
    Case("iteration-with-another-method", edits=_per_iteration("{method: spin}")),
    Case("iteration-changes-the-stage", edits=_per_iteration("{iterations: 3}")),
    Case("iteration-of-too-few-prompts", edits=_per_iteration("{prompts: {count: 3}}")),
    Case("more-entries-than-iterations", edits=_per_iteration("{}\n      - {}")),
    Case("adapter-of-unknown-layer", edits=_training("adapter: {target_modules: [q_prj, v_proj]}")),
    Case(
        "adapter-that-cannot-go-on",
        edits={
            **_training("adapter: {rank: 4, previous: frozen}"),
            **_per_iteration("{training: {adapter: {rank: 8}}}"),
        },
    ),
    Case(
        "optimizer-that-was-not-kept",
        edits=_per_iteration("{training: {optimizer_state: kept, optimizer: adafactor}}"),
    ),
    Case(
        "optimizer-kept-of-a-merged-adapter",
        edits=_training("optimizer_state: kept, adapter: {}"),
    ),
    Case("gate-of-unknown-benchmark", edits=_gate("benchmarks: [alpacaeval]")),
    Case("gate-of-unknown-action", edits=_gate("action: halt")),
    Case(
        "gate-stops-without-benchmarks",
        "train mine.yaml",
        edits={**_gate("action: stop"), EVALUATION: ""},
    ),
    Case("name-with-a-blank", edits={"name: Plain": "name: My Plain"}),
    Case("name-too-long", edits={"name: Plain": "name: " + "x" * 97}),
    Case("namespace-with-a-slash", edits={"namespace: me": "namespace: me/mine"}),
    Case("endpoint-no-address", edits={"namespace: me": "namespace: me, endpoint: huggingface"}),
    Case("licence-by-its-long-name", edits={"license: apache-2.0": "license: Apache 2.0"}),
    Case("licence-unknown-to-the-hub", edits={"license: apache-2.0": "license: apache2"}),
    Case("licence-other-unnamed", edits={"license: apache-2.0": "license: other"}),
]
TYPED = [
    Case("set-without-equals", "train mine.yaml --set seed"),
    Case("set-unknown-key", "train mine.yaml --set stages.0.trainig.schedule_epochs=1"),
    Case("set-item-too-far", "train mine.yaml --set stages.1.iterations=2"),
    Case("set-item-by-word", "train mine.yaml --set stages.first.iterations=2"),
    Case("set-not-yaml", "train mine.yaml --set variants=[w4a16"),
    Case("set-below-a-number", "train mine.yaml --set seed.x=1"),
    Case("set-wrong-type", "train mine.yaml --set seed=three"),
    Case("until-unknown-step", "train mine.yaml --until iter2-trian"),
    Case("redo-unknown-step", "train mine.yaml --redo iter1_judge"),
    Case("until-step-of-another-command", "train mine.yaml --until publish"),
    Case("publish-without-a-section", "publish mine.yaml", {"publish: {namespace: me}\n": ""}),
    Case("unknown-command", "tarin mine.yaml", code=2),
    Case("no-recipe-given", "train", code=2),
    Case("unknown-flag", "train mine.yaml --dryrun", code=2),
    Case("flag-of-unknown-choice", "train mine.yaml --children maybe", code=2),
    Case("unknown-kind", "list judgs"),
]
_JUDGE = "    judge: rule"
COMPAT = [
    Case(
        "compat-of-another-method",
        edits={"name: sppo, samples: 2": "name: dpo", _JUDGE: f"{_JUDGE}\n    compat: released"},
    ),
    Case(
        "compat-against-preferences",
        edits={
            _JUDGE: f"{_JUDGE}\n    compat: released\n    preferences: {{aggregation: pairwise}}"
        },
    ),
    Case(
        "max-prompt-length-without-compat", edits={_JUDGE: f"{_JUDGE}\n    max_prompt_length: 512"}
    ),
]
CASES = [*PLUGINS, *YAML, *KEYS, *TYPED, *COMPAT]
