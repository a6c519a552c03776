// Dropout that scales up in training: y = x / (1 - p) where a number drawn for the element is above p, else 0.
//
// The number is a hash of the element's position and a seed, so that all threads draw at once, the result does not
// depend on how many there are, and the gradient draws it again instead of reading a mask.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "paddle/phi/api/ext/op_meta_info.h"
#include "paddle/phi/api/include/api.h"

namespace {

using paddle::Tensor;

// Spreads each bit of h over all of them (the finalizer of the public-domain MurmurHash3).
inline uint32_t Mix(uint32_t h) {
  h = (h ^ (h >> 16)) * 0x85EBCA6Bu;
  h = (h ^ (h >> 13)) * 0xC2B2AE35u;
  return h ^ (h >> 16);
}

Tensor Drop(const Tensor& x, const Tensor& seed, float p) {
  PD_CHECK(x.is_cpu() && x.dtype() == paddle::DataType::FLOAT32, "paddle_cls_dropout: float32 CPU tensors only");
  PD_CHECK(seed.is_cpu() && seed.dtype() == paddle::DataType::INT64 && seed.numel() == 2,
           "paddle_cls_dropout: the seed is two int64 on the CPU");
  PD_CHECK(p >= 0 && p < 1, "paddle_cls_dropout: p must be in [0, 1)");
  Tensor y = paddle::experimental::empty(x.shape(), paddle::DataType::FLOAT32, x.place());
  const float* from = x.data<float>();
  float* to = y.data<float>();
  const uint32_t first = seed.data<int64_t>()[0], second = seed.data<int64_t>()[1];
  const uint32_t limit = static_cast<uint32_t>(p * 4294967296.0);
  const float scale = 1.f / (1.f - p);
  const int64_t size = x.numel(), block = 16384;
#pragma omp parallel for schedule(static)
  for (int64_t begin = 0; begin < size; begin += block) {
    const uint32_t key = Mix(first + static_cast<uint32_t>(begin / block));
    const int64_t count = std::min(block, size - begin);
    for (int64_t i = 0; i < count; ++i) {
      const uint32_t drawn = Mix(Mix(static_cast<uint32_t>(i) ^ key) + second);
      to[begin + i] = drawn >= limit ? from[begin + i] * scale : 0.f;
    }
  }
  return y;
}

std::vector<Tensor> DropForward(const Tensor& x, const Tensor& seed, float p) { return {Drop(x, seed, p)}; }

std::vector<Tensor> DropBackward(const Tensor& seed, const Tensor& dy, float p) { return {Drop(dy, seed, p)}; }

std::vector<std::vector<int64_t>> DropShape(const std::vector<int64_t>& x, const std::vector<int64_t>& seed) {
  return {x};
}

std::vector<paddle::DataType> DropType(paddle::DataType x, paddle::DataType seed) { return {x}; }

}  // namespace

PD_BUILD_OP(paddle_cls_dropout)
    .Inputs({"X", "Seed"})
    .Outputs({"Y"})
    .Attrs({"p: float"})
    .SetKernelFn(PD_KERNEL(DropForward))
    .SetInferShapeFn(PD_INFER_SHAPE(DropShape))
    .SetInferDtypeFn(PD_INFER_DTYPE(DropType));

PD_BUILD_GRAD_OP(paddle_cls_dropout)
    .Inputs({"Seed", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X")})
    .Attrs({"p: float"})
    .SetKernelFn(PD_KERNEL(DropBackward));
