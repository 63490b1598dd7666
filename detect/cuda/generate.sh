#!/bin/sh
# Makes kernel.ptx of kernel.cu and window.h, by nvcc where it is installed, else by clang, which needs no
# toolkit for it.
set -eu
if command -v nvcc >/dev/null; then
  nvcc -arch=compute_75 -O3 -fmad=false -ptx -o kernel.ptx kernel.cu
else
  clang -x cuda --cuda-device-only --cuda-gpu-arch=sm_75 -nocudainc -nocudalib -O3 -ffp-contract=off \
    -Xclang -target-feature -Xclang +ptx63 -S -o kernel.ptx kernel.cu
fi
# A test compares this with the sources.
printf '// made of %s\n' "$(cat window.h kernel.cu | sha256sum | cut -c1-64)" >> kernel.ptx
