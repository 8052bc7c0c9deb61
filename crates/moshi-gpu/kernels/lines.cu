// What is done to lines of channels.
#include "numbers.h"
#define LINE(c) (static_cast<uint64_t>(row) * t + blockIdx.z) * (c)

// Grid (1, rows, steps), 32 threads; in place.
KERNEL(softmax)(const int* list, float* x, int c, int t) {
  int row = row_of(list), lane = threadIdx.x;
  if (row < 0) return;
  float* line = x + LINE(c);
  float largest = as_float(0xff800000u), sum = 0.0f;
  for (int i = lane; i < c; i += 32) largest = line[i] > largest ? line[i] : largest;
  WARP_MAX(largest);
  for (int i = lane; i < c; i += 32) { line[i] = exp_(add_(line[i], -largest)); sum = add_(sum, line[i]); }
  WARP_SUM(sum);
  for (int i = lane; i < c; i += 32) line[i] = div_(line[i], sum);
}
EXPORT(softmax)
