// Batch normalization with what usually follows it, in one pass each way: y = relu(bn(x + bias) + residual).
//
// x is (rows, channels) in memory: any (N, H, W, C) tensor. `bias` is that of the convolution before. In training it
// moves the mean and nothing else, so it is only added to the running mean, and its gradient is exactly zero.
// Sums are taken over fixed chunks of rows and combined in order: the result does not depend on the threads.

#include <algorithm>
#include <cmath>
#include <vector>

#include "lanes.h"
#include "paddle/phi/api/ext/op_meta_info.h"
#include "paddle/phi/api/include/api.h"

namespace {

using paddle::Tensor;
using OptionalTensor = paddle::optional<Tensor>;

struct Rows {
  int64_t rows, channels, per_chunk, chunks;
  explicit Rows(const Tensor& x) {
    channels = x.shape().back();
    rows = x.numel() / channels;
    per_chunk = std::max<int64_t>(4, 8192 / channels);  // 32 KB, which stays in the nearest cache for a second look
    chunks = (rows + per_chunk - 1) / per_chunk;
  }
  // Calls f(chunk, first row, one past the last row), on all threads.
  template <class F>
  void ForChunks(F f) const {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < chunks; ++i) f(i, i * per_chunk, std::min(rows, (i + 1) * per_chunk));
  }
};

const float* Data(const OptionalTensor& t) { return t ? t->data<float>() : nullptr; }

Tensor Like(const Tensor& x) { return paddle::experimental::empty(x.shape(), paddle::DataType::FLOAT32, x.place()); }

// Mean and biased variance of each channel.
void Moments(const Rows& r, const float* x, float* mean, float* variance) {
  const int64_t channels = r.channels;
  std::vector<float> means(r.chunks * channels), squares(r.chunks * channels);
  r.ForChunks([&](int64_t chunk, int64_t begin, int64_t end) {
    ForChannels(channels, [&](int64_t c, auto group) {
      constexpr int n = decltype(group)::vectors;
      Lanes sum[n] = {}, square[n] = {};
      for (int64_t i = begin; i < end; ++i)
        for (int k = 0; k < n; ++k) sum[k] += group.Load(x + i * channels + c + k * kLanes);
      for (int k = 0; k < n; ++k) sum[k] /= static_cast<float>(end - begin);
      for (int64_t i = begin; i < end; ++i)
        for (int k = 0; k < n; ++k) {
          const Lanes d = group.Load(x + i * channels + c + k * kLanes) - sum[k];
          square[k] += d * d;
        }
      for (int k = 0; k < n; ++k) {
        group.Save(&means[chunk * channels + c + k * kLanes], sum[k]);
        group.Save(&squares[chunk * channels + c + k * kLanes], square[k]);
      }
    });
  });
  std::vector<double> total_mean(channels), total(channels);
  for (int64_t i = 0; i < r.chunks; ++i) {
    const double n = std::min(r.rows, (i + 1) * r.per_chunk) - i * r.per_chunk, before = i * r.per_chunk;
    for (int64_t c = 0; c < channels; ++c) {  // two groups' sums of squares about their means, made one
      const double delta = means[i * channels + c] - total_mean[c];
      total_mean[c] += delta * n / (before + n);
      total[c] += squares[i * channels + c] + delta * delta * before * n / (before + n);
    }
  }
  for (int64_t c = 0; c < channels; ++c) mean[c] = total_mean[c], variance[c] = total[c] / r.rows;
}

std::vector<Tensor> NormForward(const Tensor& x, const Tensor& scale, const Tensor& shift, const Tensor& running_mean,
                                const Tensor& running_variance, const OptionalTensor& bias,
                                const OptionalTensor& residual, bool training, bool relu, float momentum,
                                float epsilon) {
  PD_CHECK(x.is_cpu() && x.dtype() == paddle::DataType::FLOAT32, "paddle_cls_norm: float32 CPU tensors only");
  PD_CHECK(!residual || residual->shape() == x.shape(), "paddle_cls_norm: the residual has another shape than x");
  const Rows r(x);
  const int64_t channels = r.channels;
  Tensor y = Like(x), mean = Like(scale), inverse = Like(scale);
  float *m = mean.data<float>(), *inv = inverse.data<float>();
  // Running statistics are buffers outside autograd: updated in place, as Paddle's own operator does.
  float *run_m = const_cast<float*>(running_mean.data<float>()),
        *run_v = const_cast<float*>(running_variance.data<float>());
  const float *b = Data(bias), *x_data = x.data<float>(), *res = Data(residual);
  if (training) {
    Moments(r, x_data, m, inv);
    for (int64_t c = 0; c < channels; ++c) {
      run_m[c] = momentum * run_m[c] + (1 - momentum) * (m[c] + (b ? b[c] : 0.f));
      run_v[c] = momentum * run_v[c] + (1 - momentum) * inv[c];
    }
  } else {
    for (int64_t c = 0; c < channels; ++c) m[c] = run_m[c] - (b ? b[c] : 0.f), inv[c] = run_v[c];
  }
  for (int64_t c = 0; c < channels; ++c) inv[c] = 1.f / std::sqrt(inv[c] + epsilon);
  const float *gamma = scale.data<float>(), *beta = shift.data<float>();
  float* y_data = y.data<float>();
  r.ForChunks([&](int64_t, int64_t begin, int64_t end) {
    ForChannels(channels, [&](int64_t c, auto group) {
      constexpr int n = decltype(group)::vectors;
      Lanes center[n], factor[n], add[n];
      for (int k = 0; k < n; ++k) {
        center[k] = group.Load(m + c + k * kLanes);
        factor[k] = group.Load(gamma + c + k * kLanes) * group.Load(inv + c + k * kLanes);
        add[k] = group.Load(beta + c + k * kLanes);
      }
      for (int64_t i = begin; i < end; ++i)
        for (int k = 0; k < n; ++k) {
          const int64_t at = i * channels + c + k * kLanes;
          Lanes v = (group.Load(x_data + at) - center[k]) * factor[k] + add[k];
          if (res) v += group.Load(res + at);
          if (relu) v = v < 0.f ? Lanes{} : v;
          group.Save(y_data + at, v);
        }
    });
  });
  return {y, mean, inverse};
}

std::vector<Tensor> NormBackward(const Tensor& x, const Tensor& scale, const Tensor& shift, const OptionalTensor& bias,
                                 const OptionalTensor& residual, const Tensor& y, const Tensor& mean,
                                 const Tensor& inverse, const Tensor& dy, bool training, bool relu, float momentum,
                                 float epsilon) {
  const Rows r(x);
  const int64_t channels = r.channels;
  Tensor dx = Like(x), dscale = Like(scale), dshift = Like(shift);
  Tensor of_bias, of_residual;  // Paddle wants an empty place for an input that was not there
  float *dbias = nullptr, *dres = nullptr;
  if (bias) of_bias = Like(*bias), dbias = of_bias.data<float>();
  if (residual) of_residual = Like(x), dres = of_residual.data<float>();
  const float *x_data = x.data<float>(), *y_data = y.data<float>(), *dy_data = dy.data<float>();
  const float *m = mean.data<float>(), *inv = inverse.data<float>(), *gamma = scale.data<float>();
  const float* beta = shift.data<float>();
  std::vector<float> sums(r.chunks * channels), products(r.chunks * channels);
  r.ForChunks([&](int64_t chunk, int64_t begin, int64_t end) {
    ForChannels(channels, [&](int64_t c, auto group) {
      constexpr int n = decltype(group)::vectors;
      Lanes center[n], factor[n], add[n], sum[n] = {}, product[n] = {};
      for (int k = 0; k < n; ++k) {
        center[k] = group.Load(m + c + k * kLanes);
        factor[k] = group.Load(gamma + c + k * kLanes) * group.Load(inv + c + k * kLanes);
        add[k] = group.Load(beta + c + k * kLanes);
      }
      for (int64_t i = begin; i < end; ++i)
        for (int k = 0; k < n; ++k) {
          const int64_t at = i * channels + c + k * kLanes;
          const Lanes d = group.Load(x_data + at) - center[k];
          Lanes g = group.Load(dy_data + at);
          if (relu && dres) g = group.Load(y_data + at) > 0.f ? g : Lanes{};
          if (relu && !dres) g = d * factor[k] + add[k] > 0.f ? g : Lanes{};  // y again, cheaper than reading it
          if (dres) group.Save(dres + at, g);
          sum[k] += g;
          product[k] += g * d;
        }
      for (int k = 0; k < n; ++k) {
        group.Save(&sums[chunk * channels + c + k * kLanes], sum[k]);
        group.Save(&products[chunk * channels + c + k * kLanes], product[k]);
      }
    });
  });
  std::vector<double> sum(channels), product(channels);
  for (int64_t i = 0; i < r.chunks; ++i)
    for (int64_t c = 0; c < channels; ++c) sum[c] += sums[i * channels + c], product[c] += products[i * channels + c];
  // dx = factor (g - offset - slope (x - mean))
  std::vector<float> factors(channels), offsets(channels), slopes(channels);
  for (int64_t c = 0; c < channels; ++c) {
    dshift.data<float>()[c] = sum[c];
    dscale.data<float>()[c] = product[c] * inv[c];
    factors[c] = gamma[c] * inv[c];
    if (training) offsets[c] = sum[c] / r.rows, slopes[c] = product[c] * inv[c] * inv[c] / r.rows;
    if (dbias) dbias[c] = training ? 0.f : sum[c] * factors[c];
  }
  float* dx_data = dx.data<float>();
  const float* g_data = dres ? dres : dy_data;
  const bool mask = relu && !dres;
  r.ForChunks([&](int64_t, int64_t begin, int64_t end) {
    ForChannels(channels, [&](int64_t c, auto group) {
      constexpr int n = decltype(group)::vectors;
      Lanes center[n], factor[n], add[n], offset[n], slope[n];
      for (int k = 0; k < n; ++k) {
        center[k] = group.Load(m + c + k * kLanes), factor[k] = group.Load(&factors[c + k * kLanes]);
        add[k] = group.Load(beta + c + k * kLanes);
        offset[k] = group.Load(&offsets[c + k * kLanes]), slope[k] = group.Load(&slopes[c + k * kLanes]);
      }
      for (int64_t i = begin; i < end; ++i)
        for (int k = 0; k < n; ++k) {
          const int64_t at = i * channels + c + k * kLanes;
          const Lanes d = group.Load(x_data + at) - center[k];
          Lanes g = group.Load(g_data + at);
          if (mask) g = d * factor[k] + add[k] > 0.f ? g : Lanes{};
          group.Save(dx_data + at, (g - offset[k] - d * slope[k]) * factor[k]);
        }
    });
  });
  return {dx, dscale, dshift, of_bias, of_residual};
}

using Shape = std::vector<int64_t>;
using OptionalShape = paddle::optional<Shape>;
std::vector<Shape> NormShape(const Shape& x, const Shape& scale, const Shape& shift, const Shape& running_mean,
                             const Shape& running_variance, const OptionalShape& bias, const OptionalShape& residual) {
  return {x, scale, scale};
}

using paddle::DataType;
using OptionalType = paddle::optional<DataType>;
std::vector<DataType> NormType(DataType x, DataType scale, DataType shift, DataType running_mean,
                               DataType running_variance, const OptionalType& bias, const OptionalType& residual) {
  return {x, x, x};
}

}  // namespace

PD_BUILD_OP(paddle_cls_norm)
    .Inputs({"X", "Scale", "Shift", "RunningMean", "RunningVariance", paddle::Optional("Bias"),
             paddle::Optional("Residual")})
    .Outputs({"Y", "Mean", "Inverse"})
    .Attrs({"training: bool", "relu: bool", "momentum: float", "epsilon: float"})
    .SetKernelFn(PD_KERNEL(NormForward))
    .SetInferShapeFn(PD_INFER_SHAPE(NormShape))
    .SetInferDtypeFn(PD_INFER_DTYPE(NormType));

PD_BUILD_GRAD_OP(paddle_cls_norm)
    .Inputs({"X", "Scale", "Shift", paddle::Optional("Bias"), paddle::Optional("Residual"), "Y", "Mean", "Inverse",
             paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("Scale"), paddle::Grad("Shift"), paddle::Grad(paddle::Optional("Bias")),
              paddle::Grad(paddle::Optional("Residual"))})
    .Attrs({"training: bool", "relu: bool", "momentum: float", "epsilon: float"})
    .SetKernelFn(PD_KERNEL(NormBackward));
