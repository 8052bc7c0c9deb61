// Attention over rings [rows, slots, width]: the key of position p lies in slot p modulo slots.
#include "numbers.h"

// Channel `i` of a head, rotated; `cos` and `sin` are those of the step, [half].
DEVICE float rotated(const float* head, int i, int d, const float* cosines, const float* sines, int halves) {
  if (!cosines) return head[i];
  int half = d / 2, pair = halves ? i % half : i / 2, second = halves ? i >= half : i % 2;
  float a = head[halves ? pair : 2 * pair], b = head[halves ? pair + half : 2 * pair + 1];
  float c = cosines[pair], s = sines[pair];
  return second ? add_(mul_(a, s), mul_(b, c)) : add_(mul_(a, c), -mul_(b, s));
}

// Keys, rotated, and values of every step go to the ring. Grid (width / 128, rows, steps), 128 threads.
KERNEL(append)(const int* list, const uint64_t* positions, const float* qkv, const float* cosines, const float* sines, float* keys, float* values,
               int heads, int kv_heads, int d, int slots, int first, int steps_put, int halves, int t) {
  int row = row_of(list), i = static_cast<int>(blockIdx.x) * 128 + static_cast<int>(threadIdx.x), width = kv_heads * d;
  if (row < 0 || i >= width) return;
  const float* in = qkv + (static_cast<uint64_t>(row) * t + blockIdx.z) * (heads + 2 * kv_heads) * d + heads * d;
  uint64_t angle = (static_cast<uint64_t>(row) * steps_put + first + blockIdx.z) * (d / 2);
  uint64_t slot = (positions[row] + first + blockIdx.z) % slots;
  uint64_t at = (static_cast<uint64_t>(row) * slots + slot) * width + i;
  keys[at] = rotated(in + i / d * d, i % d, d, cosines ? cosines + angle : nullptr, sines + angle, halves);
  values[at] = in[width + i];
}
EXPORT(append)

// One head of one step. Grid (heads, rows, steps), 128 threads; `scores` holds the keys that a query can see, and the
// query behind them. With `lengths` the memory does not move: its first `lengths[row]` positions are seen.
// Keys are taken oldest first, so that a sum does not know how steps were cut into chunks.
KERNEL(attend)(const int* list, const uint64_t* positions, const float* qkv, const float* cosines, const float* sines, const float* keys, const float* values, const int* lengths, float* y,
               int heads, int kv_heads, int d, int context, int slots, int stride, int first, int steps_put, int halves, int t) {
  DYNAMIC_SHARED(float, scores);
  SHARED(float, parts, [8]);
  int row = row_of(list), head = blockIdx.x, me = threadIdx.x, width = kv_heads * d, lane = me % 32;
  if (row < 0) return;
  float* query = scores + context;
  const float* in = qkv + (static_cast<uint64_t>(row) * t + blockIdx.z) * stride + head * d;
  uint64_t angle = (static_cast<uint64_t>(row) * steps_put + first + blockIdx.z) * (d / 2);
  float root = sqrt_(static_cast<float>(d));
  for (int i = me; i < d; i += 128) query[i] = div_(rotated(in, i, d, cosines ? cosines + angle : nullptr, sines + angle, halves), root);
  uint64_t position = lengths ? 0 : positions[row] + first + blockIdx.z, oldest = 0;
  int count;
  if (lengths) count = lengths[row] < 0 ? 0 : lengths[row] > context ? context : lengths[row];
  else { oldest = position + 1 > static_cast<uint64_t>(context) ? position + 1 - context : 0; count = static_cast<int>(position + 1 - oldest); }
  block_sync();
  uint64_t base = static_cast<uint64_t>(row) * slots;
  int kv = head / (heads / kv_heads) * d;
  float largest = as_float(0xff800000u), sum = 0.0f;
  for (int j = me; j < count; j += 128) {
    const float* key = keys + (base + (oldest + j) % slots) * width + kv;
    float score = 0.0f;
    for (int i = 0; i < d; i++) score = fma_(query[i], key[i], score);
    scores[j] = score;
    largest = score > largest ? score : largest;
  }
  WARP_MAX(largest);
  if (lane == 0) parts[me / 32] = largest;
  block_sync();
  for (int i = 0; i < 4; i++) largest = parts[i] > largest ? parts[i] : largest;
  for (int j = me; j < count; j += 128) { scores[j] = exp_(add_(scores[j], -largest)); sum = add_(sum, scores[j]); }
  WARP_SUM(sum);
  if (lane == 0) parts[4 + me / 32] = sum;
  block_sync();
  sum = add_(add_(parts[4], parts[5]), add_(parts[6], parts[7]));
  for (int i = me; i < d; i += 128) {
    float out = 0.0f;
    for (int j = 0; j < count; j++) out = fma_(scores[j], values[(base + (oldest + j) % slots) * width + kv + i], out);
    y[((static_cast<uint64_t>(row) * t + blockIdx.z) * heads + head) * d + i] = count ? div_(out, sum) : 0.0f;
  }
}
EXPORT(attend)

// Keys and values [len, 2 * width] become the first positions of one row. Grid (width / 128, 1, len).
KERNEL(fill_ring)(const float* kv, float* keys, float* values, int width, int slots, int row) {
  int i = static_cast<int>(blockIdx.x) * 128 + static_cast<int>(threadIdx.x);
  if (i >= width) return;
  uint64_t at = (static_cast<uint64_t>(row) * slots + blockIdx.z) * width + i, from = static_cast<uint64_t>(blockIdx.z) * 2 * width + i;
  keys[at] = kv[from];
  values[at] = kv[from + width];
}
EXPORT(fill_ring)
