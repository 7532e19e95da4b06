"""WordNet: from a gloss to its lemmas among 147,306 labels; labels seen in training and labels never seen, apart.

    XMC_BENCHMARK_DATA=FOLDER python benchmarks/bench_wordnet.py [WORK_FOLDER [SUBJECT ...]] [--tune]

`sampled labels` is the decoupled softmax against the batch's labels and 4,096 drawn ones; the other losses are measured
in the same way. The data set has no dev split: `--tune` holds out a part of train, as every training run does.
"""

from __future__ import annotations

from by_loss import Task, Variant, main

TASK = Task(
    data="wordnet",
    question="WordNet quality",
    plugin="dexml",
    learning_rates={"train.learning_rate": 0.004},
    figures=("P@1", "P@3", "P@5", "PSP@5", "R@10", "R@100", "MRR@100"),
    groups=("overall", "torso", "tail", "zero-shot"),
    choose_by="MRR@100",
    baseline="sampled labels",
    settings=(
        "evaluate.auc_negatives=500", "train.epochs=4", "train.label_scope=sampled", "train.sampled_labels=4096",
        "train.score_memory_mb=1024",
    ),
    variants={
        "sampled labels": Variant(()),
        "sampled labels corrected": Variant(("loss.correct_sampling=true",)),
        "InfoNCE": Variant(("loss.name=baselines.info-nce", "loss.temperature=0.07")),
        "InfoNCE corrected": Variant(
            ("loss.name=baselines.info-nce", "loss.temperature=0.07", "loss.correct_sampling=true"),
        ),
        "binary cross-entropy": Variant(
            ("loss.name=baselines.binary-cross-entropy", "loss.temperature=0.05", "loss.bias=-12"),
        ),
        "soft top-k": Variant(("loss.name=dexml.soft-top-k", "loss.k=5", "loss.alpha=2.0", "loss.temperature=0.07")),
        "LDR-KL": Variant(("loss.name=ldr.ldr-kl", "loss.lambda_=0.07", "loss.margin=0.1")),
        "ALDR-KL": Variant(("loss.name=ldr.aldr-kl", "loss.lambda_=0.1", "loss.margin=0.1")),
        "Mann-Whitney": Variant(("loss.name=mw.mann-whitney", "loss.temperature=0.05")),
        "Mann-Whitney with softmax": Variant(("loss.name=mw.mann-whitney", "loss.temperature=0.05", "loss.mix=0.7")),
        "Z-loss": Variant(("loss.name=zloss.z-loss", "loss.sharpness=0.3", "loss.location=12.0")),
        "Taylor softmax": Variant(("loss.name=zloss.taylor-softmax", "loss.temperature=0.01")),
        "spherical softmax": Variant(("loss.name=zloss.spherical-softmax", "loss.eps=0.0001")),
        "sparse squared error": Variant(("loss.name=zloss.sparse-mse",)),
        "norm and direction": Variant(("loss.name=distill.nd", "loss.temperature=0.07")),
        "self-distillation": Variant(("loss.name=distill.uskd", "loss.temperature=0.07")),
        "all labels": Variant(
            ("train.label_scope=all", "train.epochs=2", "train.batch_size=1024", "train.score_memory_mb=512"),
            tuned=False,
        ),
    },
)  # fmt: skip

if __name__ == "__main__":
    main(TASK, __doc__)
