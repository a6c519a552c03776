// Networks for ops/runner.py, which calls these functions through ctypes.

#include <omp.h>

#include <exception>
#include <string>

#include "network.h"

namespace {

// Has OpenMP use so many threads for as long as it lives; what the caller computes otherwise keeps its own number.
struct Threads {
  explicit Threads(int count) : before(omp_get_max_threads()) { omp_set_num_threads(count); }
  ~Threads() { omp_set_num_threads(before); }
  int before;
};

thread_local std::string problem;

}  // namespace

extern "C" {

const char* paddle_cls_network_problem() { return problem.c_str(); }

// Returns a network for images of 4 sizes (N, C, H, W), or null with a problem.
void* paddle_cls_network_new(const double* code, int64_t length, const float* const* weights, const int64_t* images,
                             int64_t classes, int threads) {
  try {
    const Threads all(threads);
    return new Network(code, length, weights, Dims(images, images + 4), classes);
  } catch (const std::exception& error) {
    problem = error.what();
    return nullptr;
  }
}

// images: float32 (N, C, H, W); logits: float32 (N, classes). Returns 0, or 1 with a problem.
int paddle_cls_network_run(void* network, const float* images, float* logits, int threads) {
  try {
    const Threads all(threads);
    static_cast<Network*>(network)->Run(images, logits);
    return 0;
  } catch (const std::exception& error) {
    problem = error.what();
    return 1;
  }
}

void paddle_cls_network_delete(void* network) { delete static_cast<Network*>(network); }

}  // extern "C"
