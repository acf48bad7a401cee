#!/usr/bin/env bash
# The Flickr8k captioners of RESULTS.md, from raw data to scores. Finished steps are reused.
#
#   configs/captioners/flickr8k.sh DATA WORKSPACE [RUN ...]
#
# RUN is fc, rnn, lstm, attention_lstm, att2in2 or updown, on stored features of MobileNet as it
# comes, or `ensemble`: up-down goes on from there with the network's last blocks, and the two
# up-downs caption together, with and without the consensus of similar photographs. All by default.
#
# DATA holds flickr8k/ (images, captions.token.txt, train_images.txt, dev_images.txt) and models/
# (MobileNet).
set -euo pipefail
trap 'exit 130' INT TERM # an interrupted training ends well: its state is saved
data=${1:?folder of the raw data} workspace=${2:?working directory}
shift 2
[ $# -gt 0 ] || set -- fc rnn lstm attention_lstm att2in2 updown ensemble
here=$(dirname "$0")
network=$data/models/mobilenet_v1_0.75_224_notop.weights.h5
records=$workspace/records/captions/flickr8k

run_of() { # name
  echo "$workspace/runs/$1/cross_entropy"
}

train() { # captioner, argument of its configuration, name of the run, further flags
  r2m-train-captioner --config="$here/$1.py:$2" --captions="$records" \
    --workdir="$workspace/runs/$3" "${@:4}"
}

evaluate() { # flags
  r2m-evaluate --records="$records" --gallery=12 --gallery_seed=1 "$@"
}

r2m-build-captions --name=flickr8k --captions="$data/flickr8k/captions.token.txt" \
  --split=train="$data/flickr8k/train_images.txt" --split=val="$data/flickr8k/dev_images.txt" \
  --images="$data/flickr8k/images" --backbone=MobileNet --alpha=0.75 --weights="$network" \
  --store_grid --workers=2 --output="$records"
for run in "$@"; do
  if [ "$run" != ensemble ]; then
    train "$run" flickr8k "flickr8k_$run"
    evaluate --run="$(run_of "flickr8k_$run")"
    continue
  fi
  stored=$(run_of flickr8k_updown) pixels=$(run_of flickr8k_pixels_updown)
  train updown flickr8k flickr8k_updown
  train updown flickr8k_pixels flickr8k_pixels_updown --config.image.weights="$network" \
    --init_from="$stored"
  evaluate --run="$pixels"
  both=(--run="$pixels" --run="$stored")
  evaluate "${both[@]}" --output="$workspace/runs/flickr8k_ensemble"
  evaluate "${both[@]}" --neighbours=60 --beam_size=20 --output="$workspace/runs/flickr8k_consensus"
done
