// The temporal transformer's matrices of Moshi 7B as a chain of ggml products of one vector.
//
// chain q8_0|q4_0 THREADS: lays out 32 layers of random blocks, says "ready REPACKED BYTES", then for each line on
// standard input takes one pass over all layers and answers its milliseconds.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "ggml.h"

static const int64_t WIDTH = 4096, QKV = 12288, GATES = 22528, HIDDEN = 11264, LAYERS = 32;

// The buffer type that lays weights out for wide kernels, where ggml has one for this processor and format.
static ggml_backend_buffer_type_t repacking(ggml_type type) {
    if (type != GGML_TYPE_Q4_0) return nullptr;
    ggml_backend_reg_t reg = ggml_backend_cpu_reg();
    auto get = (ggml_backend_dev_get_extra_bufts_t) ggml_backend_reg_get_proc_address(reg, "ggml_backend_dev_get_extra_bufts");
    if (!get) return nullptr;
    ggml_backend_buffer_type_t *types = get(ggml_backend_reg_dev_get(reg, 0));
    for (; types && *types; types++) {
        if (std::string(ggml_backend_buft_name(*types)).find("REPACK") != std::string::npos) return *types;
    }
    return nullptr;
}

static void fill(ggml_tensor *w, std::mt19937 &random) {
    const size_t block = ggml_type_size(w->type);
    std::vector<uint8_t> bytes(ggml_nbytes(w));
    uint32_t *words = (uint32_t *) bytes.data();
    for (size_t i = 0; i < bytes.size() / 4; i++) words[i] = random();
    const float deviation = w->type == GGML_TYPE_Q8_0 ? 73.9f : 4.61f;
    const ggml_fp16_t scale = ggml_fp32_to_fp16(1.0f / (deviation * 64.0f));
    for (size_t i = 0; i + block <= bytes.size(); i += block) memcpy(&bytes[i], &scale, sizeof scale);
    ggml_backend_tensor_set(w, bytes.data(), 0, bytes.size());
}

int main(int argc, char **argv) {
    if (argc != 3) return fprintf(stderr, "usage: chain q8_0|q4_0 THREADS\n"), 1;
    const ggml_type type = !strcmp(argv[1], "q4_0") ? GGML_TYPE_Q4_0 : GGML_TYPE_Q8_0;
    ggml_log_set([](ggml_log_level, const char *, void *) {}, nullptr);  // it names every tensor that it repacks
    ggml_backend_t backend = ggml_backend_cpu_init();
    ggml_backend_cpu_set_n_threads(backend, atoi(argv[2]));
    ggml_threadpool_params params = ggml_threadpool_params_default(atoi(argv[2]));
    ggml_backend_cpu_set_threadpool(backend, ggml_threadpool_new(&params));
    ggml_backend_buffer_type_t buft = repacking(type);
    const bool repacked = buft != nullptr;
    if (!buft) buft = ggml_backend_cpu_buffer_type();

    ggml_init_params init = {ggml_tensor_overhead() * 1024, nullptr, true};
    ggml_context *weights = ggml_init(init);
    const int64_t shapes[4][2] = {{WIDTH, QKV}, {WIDTH, WIDTH}, {WIDTH, GATES}, {HIDDEN, WIDTH}};
    std::vector<ggml_tensor *> all;
    for (int i = 0; i < LAYERS; i++)
        for (auto &s : shapes) all.push_back(ggml_new_tensor_2d(weights, type, s[0], s[1]));
    if (!ggml_backend_alloc_ctx_tensors_from_buft(weights, buft)) return fprintf(stderr, "no memory\n"), 1;
    std::mt19937 random(1);
    size_t bytes = 0;
    for (ggml_tensor *w : all) fill(w, random), bytes += ggml_nbytes(w);

    ggml_init_params steps = {ggml_tensor_overhead() * 2048 + ggml_graph_overhead(), nullptr, true};
    ggml_context *ctx = ggml_init(steps);
    ggml_tensor *input = ggml_new_tensor_1d(ctx, GGML_TYPE_F32, WIDTH), *x = input;
    for (int i = 0; i < LAYERS; i++) {
        ggml_tensor **w = &all[4 * i];
        x = ggml_view_1d(ctx, ggml_mul_mat(ctx, w[0], x), WIDTH, 0);
        x = ggml_mul_mat(ctx, w[1], x);
        x = ggml_view_1d(ctx, ggml_mul_mat(ctx, w[2], x), HIDDEN, 0);
        x = ggml_mul_mat(ctx, w[3], x);
    }
    ggml_cgraph *graph = ggml_new_graph(ctx);
    ggml_build_forward_expand(graph, x);
    if (!ggml_backend_alloc_ctx_tensors(ctx, backend)) return fprintf(stderr, "no memory\n"), 1;
    std::vector<float> values(WIDTH);
    for (float &v : values) v = (float) (random() % 2000) / 1000.0f - 1.0f;
    ggml_backend_tensor_set(input, values.data(), 0, WIDTH * sizeof(float));

    printf("ready %d %zu\n", repacked, bytes);
    fflush(stdout);
    for (std::string line; std::getline(std::cin, line);) {
        const auto start = std::chrono::steady_clock::now();
        if (ggml_backend_graph_compute(backend, graph) != GGML_STATUS_SUCCESS) return 1;
        const std::chrono::duration<double, std::milli> passed = std::chrono::steady_clock::now() - start;
        printf("%.3f\n", passed.count());
        fflush(stdout);
    }
    return 0;
}
