#!/usr/bin/env bash
# The Flickr8k experiments of RESULTS.md, from raw data to scores. Finished steps are reused.
#
#   configs/r2m/flickr8k.sh DATA WORKSPACE [RUN ...]     RUN: coco merged merged_lstm merged_concat
#
# DATA holds flickr8k/ (images, captions.token.txt, train_images.txt, dev_images.txt,
# detections_coco.json, tags_imagenet.json), coco/ and corpora/ (captions), models/ (MobileNet).
# No caption of Flickr8k is seen in training: --references go to the validation split only.
set -euo pipefail
trap 'exit 130' INT TERM # an interrupted training ends well: its state is saved
data=${1:?folder of the raw data} workspace=${2:?working directory}
shift 2
runs=("${@:-coco merged merged_lstm merged_concat}")
here=$(dirname "$0")
min_scores=([1]=0.4 [2]=0.08)
read -ra runs <<<"${runs[*]}"

records() { # concepts (coco or merged)
  local maps=(--label_map="$data/flickr8k/detections_coco.json")
  local detections=(--detections="$data/flickr8k/detections_coco.json,${min_scores[1]}")
  if [ "$1" = merged ]; then
    maps+=(--label_map="$data/flickr8k/tags_imagenet.json")
    detections+=(--detections="$data/flickr8k/tags_imagenet.json,${min_scores[2]}")
  fi
  r2m-build-corpora --name="$1" --min_count=5 --workers=2 "${maps[@]}" \
    --source="$data/coco/captions_val2017.json" \
    --source="$data/coco/karpathy_test5k_captions.json" \
    --source="$data/corpora/coco_dev_captions.txt" \
    --output="$workspace/records/corpora/$1"
  r2m-build-images --images="$data/flickr8k/images" "${detections[@]}" \
    --corpora="$workspace/records/corpora/$1" --min_concept_count=20 --max_concepts=4 \
    --split=train="$data/flickr8k/train_images.txt" \
    --split=val="$data/flickr8k/dev_images.txt" \
    --references="$data/flickr8k/captions.token.txt" --reference_splits=val \
    --backbone=MobileNet --alpha=0.75 --workers=2 \
    --weights="$data/models/mobilenet_v1_0.75_224_notop.weights.h5" \
    --output="$workspace/records/images/flickr8k_$1"
}

for run in "${runs[@]}"; do
  concepts=${run%%_*}
  records "$concepts"
  overrides=()
  case $run in
    # The paper's LSTM decoder: a linear fusion, then an LSTM. The reconstructor stays.
    *_lstm) overrides=(--config.model.decoder=lstm --config.model.fusion=concat) ;;
    *_concat) overrides=(--config.model.fusion=concat) ;;
  esac
  images=$workspace/records/images/flickr8k_$concepts
  r2m-train-curriculum --config="$here/flickr8k.py" "${overrides[@]}" \
    --corpora="$workspace/records/corpora/$concepts" --images="$images" \
    --workdir="$workspace/runs/flickr8k_$run"
  for stage in xe xe_rec tri tri_rec; do
    r2m-evaluate --run="$workspace/runs/flickr8k_$run/$stage" --records="$images" --split=val \
      --gallery=12 --gallery_seed=1
  done
done
