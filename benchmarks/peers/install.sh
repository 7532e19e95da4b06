#!/bin/sh
# Install the peers of bench_best_recipe.py, one virtual environment each: sh benchmarks/peers/install.sh FOLDER
# libpecos pins torch and transformers, which XR-Linear and its TF-IDF do not import: they are left out.
set -eu
folder=${1:?usage: install.sh FOLDER}
python=${PYTHON:-python3}
mkdir -p "$folder"

"$python" -m venv "$folder/pecos"
"$folder/pecos/bin/pip" install --quiet --no-deps libpecos==1.2.8
"$folder/pecos/bin/pip" install --quiet numpy==1.26.4 scipy==1.13.1 scikit-learn==1.5.2 pyarrow==18.1.0  # for this numpy

"$python" -m venv "$folder/omikuji"
"$folder/omikuji/bin/pip" install --quiet omikuji==0.5.2 numpy scipy scikit-learn pyarrow
