// What is done to lines of channels: norms, gates, sums, softmax, embeddings, guidance.
#include "numbers.h"
#define LINE(c) (static_cast<uint64_t>(row) * t + blockIdx.z) * (c)

// Norms: a warp for each line, lanes as in products. Grid (1, rows, steps), 32 threads. `centred`: a layer norm.
KERNEL(norm)(const int* list, const float* x, const float* weight, const float* bias, float* y, int c, float eps, int t, int centred) {
  int row = row_of(list), lane = threadIdx.x;
  if (row < 0) return;
  const float* in = x + LINE(c);
  float mean = 0.0f, square = 0.0f, width = static_cast<float>(c);
  if (centred) {
    for (int i = lane; i < c; i += 32) mean = add_(mean, in[i]);
    WARP_SUM(mean);
    mean = div_(mean, width);
  }
  for (int i = lane; i < c; i += 32) { float v = add_(in[i], -mean); square = fma_(v, v, square); }
  WARP_SUM(square);
  float size = sqrt_(add_(div_(square, width), eps));
  for (int i = lane; i < c; i += 32) {
    float v = mul_(div_(add_(in[i], -mean), size), weight[i]);
    y[LINE(c) + i] = centred ? add_(v, bias[i]) : v;
  }
}
EXPORT(norm)

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

// One thread a channel: grid (c / 128, rows, steps), 128 threads.
#define CHANNEL(c) int row = row_of(list), i = static_cast<int>(blockIdx.x) * 128 + static_cast<int>(threadIdx.x); if (row < 0 || i >= (c)) return

KERNEL(residual)(const int* list, const float* y, const float* scale, float* x, int c, int t) {
  CHANNEL(c);
  float* at = x + LINE(c) + i;
  float v = y[LINE(c) + i];
  *at = add_(*at, scale ? mul_(scale[i], v) : v);
}
EXPORT(residual)

KERNEL(silu_gate)(const int* list, const float* x, float* y, int h, int t) {
  CHANNEL(h);
  float a = x[LINE(2 * h) + i], b = x[LINE(2 * h) + h + i];
  y[LINE(h) + i] = mul_(div_(a, add_(1.0f, exp_(-a))), b);
}
EXPORT(silu_gate)

KERNEL(gelu)(const int* list, float* x, int c, int t) {
  CHANNEL(c);
  float v = x[LINE(c) + i];
  x[LINE(c) + i] = mul_(mul_(0.5f, v), add_(1.0f, erf_(mul_(v, 0.707106781f))));
}
EXPORT(gelu)

// Row b and the row that guides it get the same logits. Grid (v / 128, rows).
KERNEL(guide)(const int* list, const int* guides, const float* coefficients, float* logits, int v, int rows) {
  CHANNEL(v);
  int g = guides[row];
  if (g < 0 || g >= rows || g == row) return;
  float* own = logits + static_cast<uint64_t>(row) * v + i;
  float* null = logits + static_cast<uint64_t>(g) * v + i;
  *own = add_(*null, mul_(add_(*own, -*null), coefficients[row]));
  *null = *own;
}
EXPORT(guide)

// y (+)= table[ids[row, step, column]]. `which`: only rows of this table's number; those of a number that is none of
// `others` read table 0. `others` is a list of numbers that ends with -1.
KERNEL(embed)(const int* list, const int* ids, const float* table, float* y, int* status, int d, int entries, int column, int of, int onto, const int* which, int number, const int* others, int t) {
  CHANNEL(d);
  if (which) {
    int mine = which[row] == number;
    if (number == 0) {
      mine = 1;
      for (int o = 0; others[o] >= 0; o++) if (others[o] == which[row]) mine = 0;
    }
    if (!mine) return;
  }
  int id = ids[(static_cast<uint64_t>(row) * t + blockIdx.z) * of + column];
  float* at = y + LINE(d) + i;
  float before = onto ? *at : 0.0f;
  int found = id >= 0 && id < entries;
  *at = found ? add_(before, table[static_cast<uint64_t>(id) * d + i]) : before;
  if (i == 0 && !found && id != -1) note(status + row, ID, column);
}
EXPORT(embed)

// The nearest code of each line. Grid (1, rows, steps), 128 threads. Ties go to the lowest index.
KERNEL(nearest_code)(const int* list, const float* book, float* residual, int* codes, int* status, int bins, int d, int column, int of, int t) {
  SHARED(float, distances, [128]);
  SHARED(int, indices, [128]);
  int row = row_of(list), me = threadIdx.x;
  if (row < 0) return;
  float* line = residual + LINE(d);
  int* code = codes + (static_cast<uint64_t>(row) * t + blockIdx.z) * of + column;
  int finite = 1;
  for (int i = 0; i < d; i++) finite &= (as_uint(line[i]) & 0x7f800000u) != 0x7f800000u;
  if (!finite) {
    if (me == 0) { *code = -1; note(status + row, VECTOR, column); }
    return;
  }
  float best = as_float(0x7f800000u);
  int index = 0x7fffffff;
  for (int bin = me; bin < bins; bin += 128) {
    float sum = 0.0f;
    for (int i = 0; i < d; i++) { float v = add_(book[static_cast<uint64_t>(bin) * d + i], -line[i]); sum = fma_(v, v, sum); }
    if (sum < best || index == 0x7fffffff) { best = sum; index = bin; }
  }
  distances[me] = best;
  indices[me] = index;
  block_sync();
  for (int i = 0; i < 128; i++) if (indices[i] != 0x7fffffff && (index == 0x7fffffff || distances[i] < best || (distances[i] == best && indices[i] < index))) { best = distances[i]; index = indices[i]; }
  if (me == 0) *code = index;
  for (int i = me; i < d; i += 128) line[i] = add_(line[i], -book[static_cast<uint64_t>(index) * d + i]);
}
EXPORT(nearest_code)
