#!/usr/bin/env bash
# taming-transformers declares torchvision and pytorch-lightning, which the modules used here do not need.
set -euo pipefail
pip install --no-deps taming-transformers==0.0.1
