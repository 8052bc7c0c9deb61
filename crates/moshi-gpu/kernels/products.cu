// Products: a warp computes one output. Lane l sums the columns l, l + 32, ... in order, and a tree sums the lanes: an
// output's bits depend on its own row and column alone.
#include "numbers.h"

// y[row, step, n] = x[row, step, k] W^T * scale (+ bias). Grid (outputs / 4, rows, steps), 128 threads.
KERNEL(linear)(const int* list, const float* x, const void* w, int format, const float* scales, const float* bias, float* y, int n, int k, int t) {
  int row = row_of(list), out = static_cast<int>(blockIdx.x) * 4 + static_cast<int>(threadIdx.x) / 32, lane = threadIdx.x % 32;
  if (row < 0 || out >= n) return;
  const float* in = x + (static_cast<uint64_t>(row) * t + blockIdx.z) * k;
  float sum = 0.0f;
  for (int i = lane; i < k; i += 32) sum = fma_(weight_at(w, format, static_cast<uint64_t>(out) * k + i), in[i], sum);
  WARP_SUM(sum);
  if (lane != 0) return;
  if (format == INT8) sum = mul_(sum, scales[out]);
  y[(static_cast<uint64_t>(row) * t + blockIdx.z) * n + out] = bias ? add_(sum, bias[out]) : sum;
}
EXPORT(linear)
