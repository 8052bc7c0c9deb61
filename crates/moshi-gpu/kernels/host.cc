// All kernels for the processor, and a launch by name.
#include "products.cu"
#include "lines.cu"
#include "sample.cu"
// As the driver's launch. Returns 0, or writes what went wrong.
extern "C" int moshi_gpu_host_launch(const char* name, const uint32_t grid[3], uint32_t threads, uint32_t shared, int order, void** args, char* error, size_t room) {
  shim::ORDER = order;
  std::string e = shim::launch(name, {grid[0], grid[1], grid[2]}, {threads, 1, 1}, shared, args);
  if (e.empty()) return 0;
  snprintf(error, room, "%s", e.c_str());
  return 1;
}
