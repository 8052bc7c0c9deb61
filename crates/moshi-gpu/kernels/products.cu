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

// The inner half of a low-rank pair, or the outer one added to `y`, for rows whose number is `which`.
// Grid as `linear`. `inner` is [rows, t, rank].
KERNEL(low_rank)(const int* list, const int* which, int number, const float* x, const float* w, float* y, int n, int k, int t, int add) {
  int row = row_of(list), out = static_cast<int>(blockIdx.x) * 4 + static_cast<int>(threadIdx.x) / 32, lane = threadIdx.x % 32;
  if (row < 0 || out >= n || which[row] != number) return;
  const float* in = x + (static_cast<uint64_t>(row) * t + blockIdx.z) * k;
  float sum = 0.0f;
  for (int i = lane; i < k; i += 32) sum = fma_(w[static_cast<uint64_t>(out) * k + i], in[i], sum);
  WARP_SUM(sum);
  if (lane != 0) return;
  float* at = y + (static_cast<uint64_t>(row) * t + blockIdx.z) * n + out;
  *at = add ? add_(*at, sum) : sum;
}
EXPORT(low_rank)

// Column `column` (counted from the oldest of the history) and channel `c` of what a convolution sees.
DEVICE float seen(const float* history, const float* x, int kept, int channels, int column, int c, int replicate) {
  if (column >= kept) return x[static_cast<uint64_t>(column - kept) * channels + c];
  return replicate ? x[c] : history[static_cast<uint64_t>(column) * channels + c];
}

// A causal convolution over the window's history followed by x [row, t, channels]. Grid (outputs / 4, rows, t / stride).
KERNEL(conv)(const int* list, const uint64_t* positions, const float* x, const float* window, const void* w, int format, const float* scales, const float* bias, float* y,
             int n, int channels, int kernel, int stride, int dilation, int kept, int t, int elu, int replicate) {
  int row = row_of(list), out = static_cast<int>(blockIdx.x) * 4 + static_cast<int>(threadIdx.x) / 32, lane = threadIdx.x % 32;
  if (row < 0 || out >= n) return;
  const float* in = x + static_cast<uint64_t>(row) * t * channels;
  const float* history = window + static_cast<uint64_t>(row) * kept * channels;
  int fill = replicate && positions[row] == 0, k = kernel * channels, step = blockIdx.z;
  float sum = 0.0f;
  for (int i = lane; i < k; i += 32) {
    float v = seen(history, in, kept, channels, step * stride + i / channels * dilation, i % channels, fill);
    sum = fma_(weight_at(w, format, static_cast<uint64_t>(out) * k + i), elu ? elu_(v) : v, sum);
  }
  WARP_SUM(sum);
  if (lane != 0) return;
  if (format == INT8) sum = mul_(sum, scales[out]);
  y[(static_cast<uint64_t>(row) * (t / stride) + step) * n + out] = bias ? add_(sum, bias[out]) : sum;
}
EXPORT(conv)

// Keeps the last `kept` columns. A thread moves one channel, oldest column first. Grid (channels / 128, rows).
KERNEL(keep_columns)(const int* list, const uint64_t* positions, const float* x, float* window, int channels, int kept, int t, int replicate) {
  int row = row_of(list), c = static_cast<int>(blockIdx.x) * 128 + static_cast<int>(threadIdx.x);
  if (row < 0 || c >= channels) return;
  const float* in = x + static_cast<uint64_t>(row) * t * channels;
  float* history = window + static_cast<uint64_t>(row) * kept * channels;
  int fill = replicate && positions[row] == 0;
  for (int i = 0; i < kept; i++) history[static_cast<uint64_t>(i) * channels + c] = seen(history, in, kept, channels, i + t, c, fill);
}
EXPORT(keep_columns)

// Depthwise transposed convolution of kernel 2 * stride. Grid (channels / 128, rows, t * stride).
KERNEL(upsample)(const int* list, const uint64_t* positions, const float* x, const float* window, const float* w, float* y, int channels, int stride, int t, int replicate) {
  int row = row_of(list), c = static_cast<int>(blockIdx.x) * 128 + static_cast<int>(threadIdx.x);
  if (row < 0 || c >= channels) return;
  int step = static_cast<int>(blockIdx.z) / stride, tap = static_cast<int>(blockIdx.z) % stride;
  const float* in = x + static_cast<uint64_t>(row) * t * channels;
  const float* history = window + static_cast<uint64_t>(row) * channels;
  int fill = replicate && positions[row] == 0;
  float now = mul_(seen(history, in, 1, channels, step + 1, c, fill), w[static_cast<uint64_t>(tap) * channels + c]);
  float old = mul_(seen(history, in, 1, channels, step, c, fill), w[static_cast<uint64_t>(stride + tap) * channels + c]);
  y[(static_cast<uint64_t>(row) * t * stride + blockIdx.z) * channels + c] = add_(now, old);
}
EXPORT(upsample)
