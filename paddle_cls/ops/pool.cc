// Max pooling of (N, H, W, C) float32 images, forward and backward. Of equal largest values the first gets the
// gradient, as in Paddle.

#include <algorithm>
#include <limits>
#include <vector>

#include "lanes.h"
#include "paddle/phi/api/ext/op_meta_info.h"
#include "paddle/phi/api/include/api.h"

namespace {

using paddle::Tensor;

// geometry: kernel (2), strides (2), paddings (top, bottom, left, right).
struct Pool {
  int64_t images, height, width, channels, out_height, out_width;
  std::vector<int> g;
  Pool(const std::vector<int64_t>& x, const std::vector<int>& geometry)
      : images(x[0]), height(x[1]), width(x[2]), channels(x[3]), g(geometry) {
    PD_CHECK(x.size() == 4 && g.size() == 8, "paddle_cls_max_pool: x has 4 dims, geometry 8 numbers");
    out_height = (height + g[4] + g[5] - g[0]) / g[2] + 1;
    out_width = (width + g[6] + g[7] - g[1]) / g[3] + 1;
    PD_CHECK(out_height > 0 && out_width > 0, "paddle_cls_max_pool: the image is smaller than the window");
  }
  std::vector<int64_t> OutShape() const { return {images, out_height, out_width, channels}; }

  // Calls f(offset of the window's output, top, bottom, left, right) for each window of one image.
  template <class F>
  void ForWindows(int64_t image, F f) const {
    for (int64_t i = 0; i < out_height; ++i)
      for (int64_t j = 0; j < out_width; ++j) {
        const int64_t top = i * g[2] - g[4], left = j * g[3] - g[6];
        f(((image * out_height + i) * out_width + j) * channels, std::max<int64_t>(top, 0),
          std::min(top + g[0], height), std::max<int64_t>(left, 0), std::min(left + g[1], width));
      }
  }
  int64_t At(int64_t image, int64_t row, int64_t column) const {
    return ((image * height + row) * width + column) * channels;
  }
};

std::vector<Tensor> PoolForward(const Tensor& x, const std::vector<int>& geometry) {
  PD_CHECK(x.is_cpu() && x.dtype() == paddle::DataType::FLOAT32, "paddle_cls_max_pool: float32 CPU tensors only");
  const Pool p(x.shape(), geometry);
  Tensor y = paddle::experimental::empty(p.OutShape(), paddle::DataType::FLOAT32, x.place());
  const float* x_data = x.data<float>();
  float* y_data = y.data<float>();
#pragma omp parallel for schedule(static)
  for (int64_t image = 0; image < p.images; ++image)
    p.ForWindows(image, [&](int64_t out, int64_t top, int64_t bottom, int64_t left, int64_t right) {
      ForChannels(p.channels, [&](int64_t c, auto group) {
        for (int k = 0; k < group.vectors; ++k, c += kLanes) {
          Lanes best = Lanes{} - std::numeric_limits<float>::infinity();
          for (int64_t h = top; h < bottom; ++h)
            for (int64_t w = left; w < right; ++w) {
              const Lanes v = group.Load(x_data + p.At(image, h, w) + c);
              best = v > best ? v : best;
            }
          group.Save(y_data + out + c, best);
        }
      });
    });
  return {y};
}

std::vector<Tensor> PoolBackward(const Tensor& x, const Tensor& y, const Tensor& dy,
                                 const std::vector<int>& geometry) {
  const Pool p(x.shape(), geometry);
  Tensor dx = paddle::experimental::empty(x.shape(), paddle::DataType::FLOAT32, x.place());
  const float *x_data = x.data<float>(), *y_data = y.data<float>(), *dy_data = dy.data<float>();
  float* dx_data = dx.data<float>();
  const int64_t size = p.height * p.width * p.channels;
#pragma omp parallel for schedule(static)
  for (int64_t image = 0; image < p.images; ++image) {
    std::fill_n(dx_data + image * size, size, 0.f);
    p.ForWindows(image, [&](int64_t out, int64_t top, int64_t bottom, int64_t left, int64_t right) {
      ForChannels(p.channels, [&](int64_t c, auto group) {
        for (int k = 0; k < group.vectors; ++k, c += kLanes) {
          const Lanes best = group.Load(y_data + out + c);
          Lanes rest = group.Load(dy_data + out + c);  // what has found no place yet
          for (int64_t h = top; h < bottom; ++h)
            for (int64_t w = left; w < right; ++w) {
              const int64_t at = p.At(image, h, w) + c;
              const LaneMask hit = group.Load(x_data + at) == best;
              group.Save(dx_data + at, group.Load(dx_data + at) + (hit ? rest : Lanes{}));
              rest = hit ? Lanes{} : rest;
            }
        }
      });
    });
  }
  return {dx};
}

std::vector<std::vector<int64_t>> PoolShape(const std::vector<int64_t>& x, const std::vector<int>& geometry) {
  return {Pool(x, geometry).OutShape()};
}

std::vector<paddle::DataType> PoolType(paddle::DataType x) { return {x}; }

}  // namespace

PD_BUILD_OP(paddle_cls_max_pool)
    .Inputs({"X"})
    .Outputs({"Y"})
    .Attrs({"geometry: std::vector<int>"})
    .SetKernelFn(PD_KERNEL(PoolForward))
    .SetInferShapeFn(PD_INFER_SHAPE(PoolShape))
    .SetInferDtypeFn(PD_INFER_DTYPE(PoolType));

PD_BUILD_GRAD_OP(paddle_cls_max_pool)
    .Inputs({"X", "Y", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X")})
    .Attrs({"geometry: std::vector<int>"})
    .SetKernelFn(PD_KERNEL(PoolBackward));
