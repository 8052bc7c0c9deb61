// Drawing a token: whole numbers behind the weighing, so that the token is the same on every machine. The definition is
// that of the crate `moshi-tensor` (module `sample`). Selections are bisections: every pass is one exact sum over all tokens.
#include "numbers.h"

// A row of a sampler: words of the text rule, of the audio rule, seed, penalty memory.
enum Word { WARM = 0, MANTISSA = 1, EXPONENT = 2, TOP_K = 3, FRACTION = 4, PAD = 5, PENALTY = 6, AUDIO = 8, SEED = 16, CONTEXT = 18, PADDING = 19, END_PADDING = 20, COUNT = 21, SPOKEN = 32, ROW_WORDS = 288 };

struct Logits { const float* x; const int* recent; int count, padding, text; float pad, penalty; int v; };
struct Kept { uint32_t key; int cut; }; // tokens above the key, and its equals before the index `cut`

DEVICE uint32_t order_key(float logit) {
  uint32_t bits = as_uint(logit);
  return bits == 0x80000000u ? bits : bits >> 31 ? ~bits : bits | 0x80000000u;
}
DEVICE uint32_t key_of(const Logits& l, int i) {
  float x = l.x[i];
  for (int r = 0; r < l.count; r++) if (l.recent[r] == i) { x = x > 0.0f ? div_(x, l.penalty) : mul_(x, l.penalty); break; }
  return order_key(l.text && i == l.padding ? add_(x, l.pad) : x);
}
DEVICE uint32_t high_product(uint32_t a, uint32_t b) { return static_cast<uint32_t>(static_cast<uint64_t>(a) * b >> 32); }
DEVICE int aligned(uint32_t key, int down, int* exponent) {
  int negative = !(key >> 31);
  uint32_t bits = negative ? ~key : key & 0x7fffffffu, e = bits >> 23 & 0xffu;
  uint32_t mantissa = (e ? 1u << 23 : 0u) | (bits & 0x7fffffu);
  *exponent = e ? static_cast<int>(e) : 1;
  int size = static_cast<int>(mantissa << 6 >> (down < 31 ? down : 31));
  return negative ? -size : size;
}
DEVICE uint32_t likelihood(uint32_t key, uint32_t largest, uint32_t mantissa, int scale) {
  if (key == largest) return 0x80000000u;
  if (key == 0x007fffffu) return 0u;
  int above, below, ignored;
  aligned(largest, 0, &above);
  aligned(key, 0, &below);
  int lift = below - above, exponent = lift <= 0 ? above : below;
  uint32_t apart = static_cast<uint32_t>(aligned(largest, lift > 0 ? lift : 0, &ignored)) - static_cast<uint32_t>(aligned(key, lift < 0 ? -lift : 0, &ignored));
  int right = 161 - exponent - scale;
  if (right <= 0) return 0u;
  uint64_t distance = static_cast<uint64_t>(apart) * mantissa >> (right < 63 ? right : 63);
  if (distance >> 31) return 0u;
  uint32_t whole = static_cast<uint32_t>(distance) >> 26, x = static_cast<uint32_t>(distance) << 6, q = 468251u;
  q = 5475002u - high_product(x, q);
  q = 41142264u - high_product(x, q);
  q = 238330987u - high_product(x, q);
  q = 1031755804u - high_product(x, q);
  q = 2977043973u - high_product(x, q);
  uint32_t p = high_product(x, q);
  return (0x80000000u - (p / 2u + p % 2u)) >> whole;
}
// floor(total * fraction / 2^32), and whether that was less.
DEVICE uint64_t share(uint64_t total, uint32_t fraction, int* more) {
  uint64_t low = (total & 0xffffffffu) * fraction;
  *more = static_cast<uint32_t>(low) != 0u;
  return (total >> 32) * fraction + (low >> 32);
}
DEVICE uint32_t token_word(uint32_t k0, uint32_t k1, uint64_t position, uint32_t stream) {
  uint32_t c0 = static_cast<uint32_t>(position), c1 = static_cast<uint32_t>(position >> 32), c2 = stream, c3 = 0u;
  for (int round = 0; round < 10; round++) {
    uint64_t a = static_cast<uint64_t>(0xD2511F53u) * c0, b = static_cast<uint64_t>(0xCD9E8D57u) * c2;
    c0 = static_cast<uint32_t>(b >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(b);
    c2 = static_cast<uint32_t>(a >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(a);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c0;
}
// The same in every thread of 128; exact.
DEVICE uint64_t block_sum(uint64_t v, uint64_t* parts) {
  for (int d = 16; d > 0; d >>= 1) v += warp_xor(v, d);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = v;
  block_sync();
  v = parts[0] + parts[1] + parts[2] + parts[3];
  block_sync();
  return v;
}
DEVICE uint32_t block_max(uint32_t v, uint64_t* parts) {
  for (int d = 16; d > 0; d >>= 1) { uint32_t o = warp_xor(v, d); v = o > v ? o : v; }
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = v;
  block_sync();
  for (int i = 0; i < 4; i++) v = parts[i] > v ? static_cast<uint32_t>(parts[i]) : v;
  block_sync();
  return v;
}
DEVICE int stays(uint32_t key, int i, Kept kept) { return key > kept.key || (key == kept.key && i < kept.cut); }
// How many tokens, or how much likelihood, stay with `kept`, have a key of `least` or more, and an index below `end`.
DEVICE uint64_t mass(const Logits& l, Kept kept, uint32_t least, int end, const int* rule, uint32_t largest, uint64_t* parts) {
  uint64_t sum = 0;
  for (int i = threadIdx.x; i < end; i += 128) {
    uint32_t key = key_of(l, i);
    if (key >= least && stays(key, i, kept)) sum += rule ? likelihood(key, largest, static_cast<uint32_t>(rule[MANTISSA]), rule[EXPONENT]) : 1u;
  }
  return block_sum(sum, parts);
}
// The largest key at which tokens from it on have `need` or more.
DEVICE uint32_t key_reaching(const Logits& l, Kept kept, uint64_t need, const int* rule, uint32_t largest, uint64_t* parts) {
  uint32_t key = 0u;
  for (uint32_t bit = 0x80000000u; bit; bit >>= 1) if (mass(l, kept, key | bit, l.v, rule, largest, parts) >= need) key |= bit;
  return key;
}
// The smallest end before which there are `need` equals of the key that stay.
DEVICE int equals_end(const Logits& l, Kept kept, uint32_t key, uint64_t need, uint64_t* parts) {
  int low = 0, high = l.v;
  while (low < high) {
    int middle = (low + high) / 2;
    uint64_t n = 0;
    for (int i = threadIdx.x; i < middle; i += 128) n += key_of(l, i) == key && stays(key, i, kept);
    if (block_sum(n, parts) >= need) high = middle; else low = middle + 1;
  }
  return low;
}
DEVICE int draw(const Logits& l, const int* rule, uint32_t word, uint32_t largest, uint64_t* parts) {
  Kept kept = {0u, l.v};
  int k = rule[TOP_K], more;
  if (k > 0 && k < l.v) {
    uint32_t key = key_reaching(l, kept, static_cast<uint64_t>(k), nullptr, largest, parts);
    uint64_t above = key == 0xffffffffu ? 0 : mass(l, kept, key + 1u, l.v, nullptr, largest, parts);
    kept = {key, equals_end(l, kept, key, static_cast<uint64_t>(k) - above, parts)};
  }
  uint64_t total = mass(l, kept, 0u, l.v, rule, largest, parts);
  if (rule[FRACTION]) {
    uint64_t need = share(total, static_cast<uint32_t>(rule[FRACTION]), &more);
    need += more;
    uint32_t key = key_reaching(l, kept, need, rule, largest, parts);
    uint64_t above = key == 0xffffffffu ? 0 : mass(l, kept, key + 1u, l.v, rule, largest, parts);
    uint64_t one = likelihood(key, largest, static_cast<uint32_t>(rule[MANTISSA]), rule[EXPONENT]);
    uint64_t equals = one ? (need - above + one - 1u) / one : 1u;
    kept = {key, equals_end(l, kept, key, equals, parts)};
    total = mass(l, kept, 0u, l.v, rule, largest, parts);
  }
  uint64_t target = share(total, word, &more);
  int low = 0, high = l.v - 1;
  while (low < high) {
    int middle = (low + high) / 2;
    if (mass(l, kept, 0u, middle + 1, rule, largest, parts) > target) high = middle; else low = middle + 1;
  }
  return low;
}

// One token a row. Grid (1, rows), 128 threads.
KERNEL(sample)(const int* list, const uint64_t* positions, const float* logits, int v, int stream, int* sampler, const int* forced, int* out, int* status, int column, int of) {
  SHARED(uint64_t, parts, [4]);
  SHARED(int, recent, [256]);
  int row = row_of(list), me = threadIdx.x;
  if (row < 0) return;
  int* state = sampler + static_cast<uint64_t>(row) * ROW_WORDS;
  const int* rule = state + (stream == 0 ? 0 : AUDIO);
  int asked = forced[static_cast<uint64_t>(row) * of + column], token = asked < -1 ? -1 : asked;
  if (asked == -1) {
    Logits l = {logits + static_cast<uint64_t>(row) * v, recent, 0, state[PADDING], stream == 0, as_float(state[PAD]), as_float(state[PENALTY]), v};
    if (l.text) l.count = state[COUNT] < state[CONTEXT] ? state[COUNT] : state[CONTEXT];
    for (int i = me; i < l.count; i += 128) recent[i] = state[SPOKEN + (state[COUNT] - 1 - i) % 256];
    uint64_t bad = 0, finite = 0;
    uint32_t largest = 0u, first = 0u;
    block_sync();
    for (int i = me; i < v; i += 128) {
      uint32_t bits = as_uint(l.x[i]), size = bits & 0x7fffffffu, key = key_of(l, i);
      bad += size > 0x7f800000u || bits == 0x7f800000u;
      finite += size < 0x7f800000u;
      largest = key > largest ? key : largest;
    }
    bad = block_sum(bad, parts);
    finite = block_sum(finite, parts);
    largest = block_max(largest, parts);
    if (bad || !finite) {
      token = -1;
      if (me == 0) note(status + row, LOGITS, column);
    } else if (rule[WARM]) {
      uint32_t word = token_word(static_cast<uint32_t>(state[SEED]), static_cast<uint32_t>(state[SEED + 1]), positions[row], static_cast<uint32_t>(stream));
      token = draw(l, rule, word, largest, parts);
    } else {
      for (int i = me; i < v; i += 128) if (key_of(l, i) == largest) { first = 0xffffffffu - static_cast<uint32_t>(i); break; }
      token = static_cast<int>(0xffffffffu - block_max(first, parts));
    }
  }
  block_sync();
  if (me != 0) return;
  out[static_cast<uint64_t>(row) * of + column] = token;
  if (stream == 0 && token >= 0 && token != state[PADDING] && token != state[END_PADDING]) {
    state[SPOKEN + state[COUNT] % 256] = token;
    // The count keeps its remainder by 256 and never falls below the longest memory again.
    state[COUNT] = state[COUNT] + 1 < (1 << 30) ? state[COUNT] + 1 : (1 << 30) - 255;
  }
}
EXPORT(sample)
