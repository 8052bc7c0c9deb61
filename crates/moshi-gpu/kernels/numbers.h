// Numbers: formats of weights, functions whose bits are the same on every machine, and sums in a fixed order.
#pragma once
#include "gpu.h"

// The row of a block (its y index), or -1 for one that has nothing to do: `list` holds the active rows, padded with -1.
DEVICE int row_of(const int* list) { return list[blockIdx.y]; }

// IEEE half precision as a single, exactly.
DEVICE float half_to_float(uint32_t h) {
  uint32_t sign = (h & 0x8000u) << 16, exponent = h >> 10 & 31u, fraction = h & 0x3ffu;
  if (exponent == 31u) return as_float(sign | 0x7f800000u | fraction << 13);
  if (exponent != 0u) return as_float(sign | (exponent + 112u) << 23 | fraction << 13);
  float small = mul_(static_cast<float>(static_cast<int>(fraction)), as_float(103u << 23)); // fraction * 2^-24
  return as_float(sign | as_uint(small));
}

enum Format { F32 = 0, BF16 = 1, F16 = 2, INT8 = 3 };

// Value `i` of a matrix of this format, without its scale.
DEVICE float weight_at(const void* w, int format, uint64_t i) {
  if (format == F32) return static_cast<const float*>(w)[i];
  if (format == BF16) return as_float(static_cast<uint32_t>(static_cast<const uint16_t*>(w)[i]) << 16);
  if (format == F16) return half_to_float(static_cast<const uint16_t*>(w)[i]);
  return static_cast<float>(static_cast<const signed char*>(w)[i]);
}

// e^x: 2^n times a polynomial of degree 7 on half an octave; relative error below 2e-7.
DEVICE float exp_(float x) {
  if (x != x) return x;
  if (x < -103.0f) return 0.0f;
  if (x > 88.72f) return as_float(0x7f800000u);
  float n = round_(mul_(x, 1.44269504f));
  float r = fma_(n, -0.693145752f, x);
  r = fma_(n, -1.42860677e-6f, r);
  float p = 1.98412698e-4f;
  p = fma_(p, r, 1.38888889e-3f);
  p = fma_(p, r, 8.33333333e-3f);
  p = fma_(p, r, 4.16666667e-2f);
  p = fma_(p, r, 0.166666667f);
  p = fma_(p, r, 0.5f);
  p = fma_(p, r, 1.0f);
  p = fma_(p, r, 1.0f);
  int whole = static_cast<int>(n), half = whole / 2;
  return mul_(mul_(p, as_float(static_cast<uint32_t>(half + 127) << 23)), as_float(static_cast<uint32_t>(whole - half + 127) << 23));
}

// erf(x), Abramowitz and Stegun 7.1.26: absolute error below 2e-7.
DEVICE float erf_(float x) {
  float a = x < 0.0f ? -x : x;
  float t = div_(1.0f, fma_(0.3275911f, a, 1.0f));
  float p = fma_(1.061405429f, t, -1.453152027f);
  p = fma_(p, t, 1.421413741f);
  p = fma_(p, t, -0.284496736f);
  p = fma_(p, t, 0.254829592f);
  float y = fma_(-mul_(p, t), exp_(-mul_(a, a)), 1.0f);
  return x < 0.0f ? -y : y;
}

DEVICE float elu_(float x) { return x > 0.0f ? x : add_(exp_(x), -1.0f); }

// The same sum in every lane: a tree over the 32 lanes of a warp.
#define WARP_SUM(v) do { for (int d_ = 16; d_ > 0; d_ >>= 1) v = add_(v, warp_xor(v, d_)); } while (0)
#define WARP_MAX(v) do { for (int d_ = 16; d_ > 0; d_ >>= 1) { float o_ = warp_xor(v, d_); v = o_ > v ? o_ : v; } } while (0)

// Writes what was found first in a row.
DEVICE void note(int* word, int kind, int column) { if (*word == 0) *word = column << 4 | kind; }
enum Fault { ID = 1, LOGITS = 2, VECTOR = 3 };
