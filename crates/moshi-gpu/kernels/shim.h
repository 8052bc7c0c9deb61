// CUDA blocks on a CPU: a thread of a block is a fiber, a warp meets at shuffles, a block at barriers. Test code.
// It reports: threads waiting at different barriers, lanes missing at a shuffle, copies never waited for, kernels unknown.
// Shared memory is fresh malloc'ed garbage for every block (AddressSanitizer sees its ends); threads run in an order that
// ORDER permutes, so a missing barrier shows; with ThreadSanitizer fibers are threads to it, and races are reported.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#if defined(__SANITIZE_THREAD__)
extern "C" { void* __tsan_get_current_fiber(); void* __tsan_create_fiber(unsigned); void __tsan_destroy_fiber(void*);
void __tsan_switch_to_fiber(void*, unsigned); void __tsan_acquire(void*); void __tsan_release(void*); }
#define SHIM_TSAN 1
#else
#define SHIM_TSAN 0
#endif
#if defined(__SANITIZE_ADDRESS__)
extern "C" { void __sanitizer_start_switch_fiber(void**, const void*, size_t); void __sanitizer_finish_switch_fiber(void*, const void**, size_t*); }
#include <sanitizer/asan_interface.h>
#define SHIM_ASAN 1
#else
#define SHIM_ASAN 0
#endif
#define QUIET __attribute__((no_sanitize("thread")))

extern "C" void shim_switch(void** save, void* load);
#if defined(__x86_64__)
__asm__(".text\n.globl shim_switch\n.type shim_switch,@function\nshim_switch:\n"
        "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
        "movq %rsp,(%rdi)\nmovq %rsi,%rsp\n"
        "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n.size shim_switch,.-shim_switch\n");
#else
#error "write twelve lines for this processor, or use boost.context"
#endif

namespace shim {
struct Dim { uint32_t x, y, z; };
enum State { READY, WARP, BLOCK, DONE };
struct Copy { void* to; const void* from; int group; };
struct Fiber {
  void* sp; char* stack; void* tsan; void* fake;
  Dim tid; int linear; State state; int site;
  int group; std::vector<Copy> copies;
};
struct Warp { uint64_t slot[2][8][32]; uint32_t arrived; int parity; uint32_t alive, full; int site; };
struct Block {
  std::vector<Fiber> fibers; std::vector<Warp> warps;
  Dim dim, grid, id; int alive, arrived;
  void* shared[64]; int want_key; size_t want_bytes; void* dynamic;
  void* main_sp; void* main_tsan; void* main_fake; const void* main_bottom; size_t main_size;
  Fiber* now; const std::function<void()>* body; std::string error; char bar, seq, mem;
};
constexpr size_t STACK = 64 << 10;
inline thread_local Block* B;
inline thread_local int ORDER = 0; // in which order threads of a warp run

QUIET inline void to_main(Fiber* f, bool dead = false) {
#if SHIM_TSAN
  __tsan_switch_to_fiber(B->main_tsan, 1);
#endif
#if SHIM_ASAN
  __sanitizer_start_switch_fiber(dead ? nullptr : &f->fake, B->main_bottom, B->main_size);
#endif
  (void)dead;
  shim_switch(&f->sp, B->main_sp);
#if SHIM_ASAN
  __sanitizer_finish_switch_fiber(f->fake, &B->main_bottom, &B->main_size);
#endif
}
QUIET inline void to_fiber(Fiber* f) {
  B->now = f;
#if SHIM_TSAN
  __tsan_switch_to_fiber(f->tsan, 1);
#endif
#if SHIM_ASAN
  __sanitizer_start_switch_fiber(&B->main_fake, f->stack, STACK);
#endif
  shim_switch(&B->main_sp, f->sp);
#if SHIM_ASAN
  __sanitizer_finish_switch_fiber(B->main_fake, nullptr, nullptr);
#endif
}
QUIET inline void fail(const std::string& e) { if (B->error.empty()) B->error = e; }
QUIET inline void enter() {
#if SHIM_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &B->main_bottom, &B->main_size);
#endif
#if SHIM_TSAN
  __tsan_acquire(&B->seq);
#endif
  (*B->body)();
  Fiber* f = B->now;
  if (!f->copies.empty()) fail("a thread ends with copies it never waited for");
  f->state = DONE;
  B->alive--;
  B->warps[f->linear / 32].alive &= ~(1u << f->linear % 32);
#if SHIM_TSAN
  __tsan_release(&B->seq);
#endif
  to_main(f, true);
  abort();
}
// All lanes of the warp put N words and meet.
template <int N> QUIET inline int meet(const uint64_t (&v)[N], int site) {
  Fiber* f = B->now;
  Warp& w = B->warps[f->linear / 32];
  int lane = f->linear % 32, parity = w.parity;
  for (int i = 0; i < N; i++) w.slot[parity][i][lane] = v[i];
  if (w.arrived && w.site != site) fail("lanes of a warp meet at different places, lines " + std::to_string(w.site) + " and " + std::to_string(site));
  if (w.alive != w.full) fail("line " + std::to_string(site) + " waits for lanes that have ended");
  w.site = site;
  w.arrived |= 1u << lane;
  if (w.arrived == w.alive) {
    w.arrived = 0; w.parity ^= 1;
    int first = f->linear & ~31;
    for (int i = 0; i < 32 && first + i < (int)B->fibers.size(); i++) if (B->fibers[first + i].state == WARP) B->fibers[first + i].state = READY;
  } else { f->state = WARP; f->site = site; to_main(f); }
  return parity;
}
QUIET inline void barrier(int site) {
  Fiber* f = B->now;
#if SHIM_TSAN
  __tsan_release(&B->bar);
#endif
  f->site = site; B->arrived++; f->state = BLOCK;
  to_main(f);
#if SHIM_TSAN
  __tsan_acquire(&B->bar);
#endif
}
QUIET inline void* shared(int key, size_t bytes) { // the block's own thread allocates, so that no fiber owns the memory
  if (!B->shared[key % 64]) { B->want_key = key % 64; B->want_bytes = bytes; to_main(B->now); }
#if SHIM_TSAN
  __tsan_acquire(&B->mem);
#endif
  return B->shared[key % 64];
}
QUIET inline void allocate(Block& b) {
  b.shared[b.want_key] = aligned_alloc(16, (b.want_bytes + 15) & ~15ul);
  memset(b.shared[b.want_key], 0xff, b.want_bytes);
  b.want_bytes = 0;
#if SHIM_TSAN
  __tsan_release(&b.mem);
#endif
}
QUIET inline bool run_warp(int w, int order) {
  bool moved = false, again = true;
  int n = std::min<int>(32, B->fibers.size() - 32 * w);
  while (again) {
    again = false;
    for (int i = 0; i < n; i++) {
      int lane = order == 0 ? i : order == 1 ? n - 1 - i : (i * 7 + order) % n;
      Fiber& f = B->fibers[32 * w + lane];
      if (f.state == READY) { to_fiber(&f); if (B->want_bytes) allocate(*B); moved = again = true; }
    }
  }
  return moved;
}
QUIET inline std::string run_block(Block& b, const std::function<void()>& body, int order) {
  B = &b; b.body = &body; b.error.clear();
  int n = b.fibers.size();
  b.alive = n; b.arrived = 0;
  for (auto& w : b.warps) { w.arrived = 0; w.parity = 0; w.alive = 0; }
  for (int i = 0; i < n; i++) {
    Fiber& f = b.fibers[i];
    f.linear = i; f.tid = {i % b.dim.x, i / b.dim.x % b.dim.y, i / b.dim.x / b.dim.y};
    f.state = READY; f.group = 0; f.copies.clear();
    b.warps[i / 32].alive |= 1u << i % 32;
    b.warps[i / 32].full = b.warps[i / 32].alive;
#if SHIM_ASAN
    __asan_unpoison_memory_region(f.stack, STACK);
#endif
    void** sp = reinterpret_cast<void**>(f.stack + STACK) - 1; // aligned as behind a call
    *--sp = reinterpret_cast<void*>(&enter);
    for (int r = 0; r < 6; r++) *--sp = nullptr;
    f.sp = sp;
  }
#if SHIM_TSAN
  __tsan_release(&b.seq);
#endif
  int warps = b.warps.size();
  while (b.alive) {
    bool moved = false;
    for (int w = 0; w < warps; w++) moved |= run_warp(order == 1 ? warps - 1 - w : w, order);
    if (b.alive && b.arrived == b.alive) {
      int site = -1;
      for (auto& f : b.fibers) if (f.state == BLOCK) {
        if (site >= 0 && site != f.site) fail("threads wait at different barriers, lines " + std::to_string(site) + " and " + std::to_string(f.site));
        site = f.site; f.state = READY;
      }
      b.arrived = 0; moved = true;
    }
    if (!moved) {
      int at_shuffle = 0, line = 0;
      for (auto& f : b.fibers) if (f.state == WARP) { at_shuffle++; line = f.site; }
      fail(at_shuffle ? "deadlock: lanes wait at line " + std::to_string(line) + " for others of their warp" : "deadlock at a barrier");
      break; // the stuck fibers are dropped
    }
    if (!b.error.empty()) break;
  }
#if SHIM_TSAN
  __tsan_acquire(&b.seq);
#endif
  for (auto& p : b.shared) { free(p); p = nullptr; }
  return b.error;
}
using Entry = std::function<void(void**)>;
inline std::map<std::string, Entry>& table() { static std::map<std::string, Entry> t; return t; }
template <class... A> Entry entry(void (*f)(A...)) {
  return [f](void** args) { [&]<size_t... I>(std::index_sequence<I...>) { f(*static_cast<std::remove_cv_t<A>*>(args[I])...); }(std::index_sequence_for<A...>{}); };
}
struct Export { Export(const char* n, Entry e) { table()[n] = std::move(e); } };

// As cuLaunchKernel. Returns an empty string, or what went wrong.
QUIET inline std::string launch(const char* name, Dim grid, Dim dim, size_t dynamic, void** args) {
  auto it = table().find(name);
  if (it == table().end()) return std::string("no kernel ") + name;
  int n = dim.x * dim.y * dim.z;
  if (n == 0 || n > 1024 || grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 || grid.z > 65535) return "impossible launch";
  int order = ORDER;
  Block b{};
  b.dim = dim; b.grid = grid; b.fibers.resize(n); b.warps.resize((n + 31) / 32);
  for (auto& f : b.fibers) {
    f.stack = static_cast<char*>(malloc(STACK));
#if SHIM_TSAN
    f.tsan = __tsan_create_fiber(0);
#endif
  }
#if SHIM_TSAN
  b.main_tsan = __tsan_get_current_fiber();
#endif
  const Entry& e = it->second;
  std::function<void()> body = [&] { e(args); };
  std::string error;
  for (uint32_t z = 0; z < grid.z && error.empty(); z++) for (uint32_t y = 0; y < grid.y && error.empty(); y++) for (uint32_t x = 0; x < grid.x && error.empty(); x++) {
    b.id = {x, y, z};
    b.dynamic = dynamic ? aligned_alloc(16, (dynamic + 15) & ~15ul) : nullptr;
    if (dynamic) memset(b.dynamic, 0xff, dynamic);
    error = run_block(b, body, order);
    free(b.dynamic);
    if (!error.empty()) error += " (block " + std::to_string(x) + "," + std::to_string(y) + "," + std::to_string(z) + " of " + name + ")";
  }
  for (auto& f : b.fibers) {
    free(f.stack);
#if SHIM_TSAN
    __tsan_destroy_fiber(f.tsan);
#endif
  }
  return error;
}
} // namespace shim

#define KERNEL(name) static void name
#define DEVICE static inline
#define BOUNDS(threads, blocks)
#define SHARED(type, name, dims) auto& name = *static_cast<type(*) dims>(shim::shared(__COUNTER__, sizeof(type dims)))
#define DYNAMIC_SHARED(type, name) type* name = static_cast<type*>(shim::B->dynamic)
#define EXPORT(name) static shim::Export export_##name(#name, shim::entry(&name));
#define threadIdx (shim::B->now->tid)
#define blockIdx (shim::B->id)
#define blockDim (shim::B->dim)
#define gridDim (shim::B->grid)
struct uint4 { uint32_t x, y, z, w; };
struct int4 { int x, y, z, w; };
struct uint2 { uint32_t x, y; };
struct float4 { float x, y, z, w; };
DEVICE float fma_(float a, float b, float c) { return std::fmaf(a, b, c); }
DEVICE float mul_(float a, float b) { return a * b; }
DEVICE float add_(float a, float b) { return a + b; }
DEVICE float div_(float a, float b) { return a / b; }
DEVICE float round_(float a) { return std::rint(a); }
DEVICE float sqrt_(float a) { return std::sqrt(a); }
DEVICE float as_float(uint32_t u) { float f; memcpy(&f, &u, 4); return f; }
DEVICE uint32_t as_uint(float f) { uint32_t u; memcpy(&u, &f, 4); return u; }
#if defined(__SSE4_1__)
#include <immintrin.h>
DEVICE int dot4(int a, int b, int c) {
  __m128i p = _mm_madd_epi16(_mm_cvtepi8_epi16(_mm_cvtsi32_si128(a)), _mm_cvtepi8_epi16(_mm_cvtsi32_si128(b)));
  return c + _mm_cvtsi128_si32(p) + _mm_extract_epi32(p, 1);
}
#else
DEVICE int dot4(int a, int b, int c) { for (int i = 0; i < 4; i++) c += int8_t(a >> 8 * i) * int8_t(b >> 8 * i); return c; }
#endif
#define block_sync() shim::barrier(__LINE__)
template <class T> QUIET inline T shuffle_xor_(T v, int d, int line) {
  uint64_t u[1] = {0};
  memcpy(u, &v, sizeof v);
  int lane = shim::B->now->linear % 32, p = shim::meet(u, line);
  T r;
  memcpy(&r, &shim::B->warps[shim::B->now->linear / 32].slot[p][0][lane ^ d], sizeof r);
  return r;
}
#define warp_xor(v, d) shuffle_xor_(v, d, __LINE__)
QUIET inline void mma_s8_(int (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], int line) {
  uint64_t u[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
  int lane = shim::B->now->linear % 32, p = shim::meet(u, line);
  auto& s = shim::B->warps[shim::B->now->linear / 32].slot[p];
  int g = lane / 4, t = lane % 4;
  for (int o = 0; o < 4; o++) {
    int row = g + 8 * (o / 2), col = 2 * t + o % 2;
    for (int k4 = 0; k4 < 8; k4++) // four columns of A lie in one word: lane (row % 8) * 4 + k4 % 4, word (row / 8) + 2 (k4 / 4)
      d[o] = dot4(int(s[row / 8 + 2 * (k4 / 4)][row % 8 * 4 + k4 % 4]), int(s[4 + k4 / 4][col * 4 + k4 % 4]), d[o]);
  }
}
#define mma_s8(d, a, b) mma_s8_(d, a, b, __LINE__)
QUIET inline void copy_async16(void* to, const void* from) { auto* f = shim::B->now; f->copies.push_back({to, from, f->group}); }
QUIET inline void copy_commit() { shim::B->now->group++; }
template <int N> inline void copy_wait() { // only now do the bytes arrive
  auto* f = shim::B->now;
  size_t kept = 0;
  for (auto& c : f->copies) { if (c.group < f->group - N) memcpy(c.to, c.from, 16); else f->copies[kept++] = c; }
  f->copies.resize(kept);
}
