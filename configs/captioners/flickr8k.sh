#!/usr/bin/env bash
# The Flickr8k captioners of RESULTS.md, from raw data to scores. Finished steps are reused.
#
#   configs/captioners/flickr8k.sh DATA WORKSPACE [RUN ...]
#
# RUN is fc, rnn, lstm, attention_lstm, att2in2 or updown, on stored features of MobileNet as it
# comes, or `tuned`: att2in2 fine-tunes the network's last blocks, three captioners learn from the
# features it then gives, and caption together. All by default.
#
# DATA holds flickr8k/ (images, captions.token.txt, train_images.txt, dev_images.txt) and models/
# (MobileNet).
set -euo pipefail
trap 'exit 130' INT TERM # an interrupted training ends well: its state is saved
data=${1:?folder of the raw data} workspace=${2:?working directory}
shift 2
[ $# -gt 0 ] || set -- fc rnn lstm attention_lstm att2in2 updown tuned
here=$(dirname "$0")
network=$data/models/mobilenet_v1_0.75_224_notop.weights.h5
plain=$workspace/records/captions/flickr8k

records() { # name, weights
  r2m-build-captions --name="$1" --captions="$data/flickr8k/captions.token.txt" \
    --split=train="$data/flickr8k/train_images.txt" --split=val="$data/flickr8k/dev_images.txt" \
    --images="$data/flickr8k/images" --backbone=MobileNet --alpha=0.75 --weights="$2" \
    --store_grid --workers=2 --output="$workspace/records/captions/$1"
}

train() { # captioner, argument of its configuration, records, run, further flags
  r2m-train-captioner --config="$here/$1.py:$2" --captions="$3" --workdir="$workspace/runs/$4" \
    "${@:5}"
}

evaluate() { # records, run, further flags
  r2m-evaluate --records="$1" --run="$workspace/runs/$2/cross_entropy" --gallery=12 \
    --gallery_seed=1 "${@:3}"
}

records flickr8k "$network"
for run in "$@"; do
  if [ "$run" != tuned ]; then
    train "$run" flickr8k "$plain" "flickr8k_$run"
    evaluate "$plain" "flickr8k_$run"
    continue
  fi
  train att2in2 flickr8k "$plain" flickr8k_att2in2
  train att2in2 flickr8k_pixels "$plain" flickr8k_pixels --config.image.weights="$network" \
    --init_from="$workspace/runs/flickr8k_att2in2/cross_entropy"
  evaluate "$plain" flickr8k_pixels
  weights=$workspace/backbones/flickr8k.weights.h5
  r2m-export-backbone --run="$workspace/runs/flickr8k_pixels/cross_entropy" --output="$weights"
  records flickr8k_tuned "$weights"
  tuned=$workspace/records/captions/flickr8k_tuned
  together=()
  for captioner in att2in2 updown attention_lstm; do
    train "$captioner" flickr8k "$tuned" "tuned_$captioner"
    evaluate "$tuned" "tuned_$captioner"
    together+=(--run="$workspace/runs/tuned_$captioner/cross_entropy")
  done
  r2m-evaluate --records="$tuned" "${together[@]}" --gallery=12 --gallery_seed=1 \
    --output="$workspace/runs/tuned_together"
done
