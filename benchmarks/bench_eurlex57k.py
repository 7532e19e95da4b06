"""EURLEX57K: every loss with everything else equal, and the recipe's encoder without its parts.

    XMC_BENCHMARK_DATA=FOLDER python benchmarks/bench_eurlex57k.py [WORK_FOLDER [SUBJECT ...]] [--tune]

Settings were chosen on the dev split; the test split is read once for each subject. Losing rows are kept.
"""

from __future__ import annotations

from by_loss import Task, Variant, main

APART = ("encoder.query_scale=0.02",)  # where all scores are equal these losses have no gradient
TASK = Task(
    data="eurlex57k",
    question="EURLEX57K quality by loss",
    plugin="dexml.documents",
    learning_rates={"train.learning_rate": 0.2, "train.label_learning_rate": 0.02},
    figures=("P@1", "P@3", "P@5", "nDCG@5", "PSP@5", "R@10", "R@100"),
    groups=("overall",),
    choose_by="P@5",
    variants={
        "decoupled softmax": Variant(()),
        "InfoNCE": Variant(("loss.name=baselines.info-nce",)),
        "binary cross-entropy": Variant(("loss.name=baselines.binary-cross-entropy", "loss.bias=-7")),
        "soft top-k": Variant(("loss.name=dexml.soft-top-k", "loss.k=5", "loss.alpha=1.0")),
        "LDR-KL": Variant(("loss.name=ldr.ldr-kl", "loss.lambda_=1.0", "loss.margin=2.0")),
        "ALDR-KL": Variant(("loss.name=ldr.aldr-kl", "loss.lambda_=1.0", "loss.margin=2.0")),
        "Mann-Whitney": Variant(("loss.name=mw.mann-whitney", "loss.temperature=1.0")),
        "Mann-Whitney with softmax": Variant(("loss.name=mw.mann-whitney", "loss.temperature=1.0", "loss.mix=0.7")),
        "Z-loss": Variant((*APART, "loss.name=zloss.z-loss", "loss.sharpness=0.3", "loss.location=10.0")),
        "Taylor softmax": Variant(("loss.name=zloss.taylor-softmax",), factor=3.0),
        "spherical softmax": Variant((*APART, "loss.name=zloss.spherical-softmax")),
        "sparse squared error": Variant(("loss.name=zloss.sparse-mse",), factor=0.1),
        "norm and direction": Variant(("loss.name=distill.nd",)),
        "self-distillation": Variant(("loss.name=distill.uskd",)),
        "decoupled softmax of 1,024 sampled labels": Variant(
            ("loss.correct_sampling=true", "train.label_scope=sampled", "train.sampled_labels=1024"),
        ),
        "InfoNCE of 1,024 sampled labels": Variant(
            ("loss.name=baselines.info-nce", "loss.correct_sampling=true", "train.label_scope=sampled",
             "train.sampled_labels=1024"),
        ),
        "binary cross-entropy without bias": Variant(("loss.name=baselines.binary-cross-entropy",), tuned=False),
        "decoupled softmax, classifier on label text": Variant(("head.name=classifier",), tuned=False),
        "decoupled softmax, classifier alone": Variant(("head.name=classifier", "head.text=false"), tuned=False),
        "decoupled softmax without opening words": Variant(("encoder.opening=0",), tuned=False),
        "decoupled softmax label words only": Variant(("encoder.label_pairs=false",), tuned=False),
        "decoupled softmax plain token means": Variant(
            ("encoder.name=static", "encoder.dimension=384", "encoder.similarity=dot", "encoder.shared=false",
             "encoder.ngrams_longest=0", "encoder.vocabulary_size=30000", "train.learning_rate=4.0",
             "train.label_learning_rate=0.05"),
            tuned=False,
        ),
    },
)  # fmt: skip

if __name__ == "__main__":
    main(TASK, __doc__)
