// Convolution, forward and backward, by the oneDNN library that the Paddle wheel brings.
//
// Images and results are (N, H, W, C) float32: the layout in which oneDNN is fast for any number of channels, and in
// which batch norm and pooling (norm.cc, pool.cc) vectorize over neighbouring floats. Weights keep Paddle's layout,
// (out, in / groups, kh, kw), and are reordered on every call, since every training step changes them.

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "onednn.h"
#include "paddle/phi/api/ext/op_meta_info.h"
#include "paddle/phi/api/include/api.h"

namespace {

constexpr auto kDirect = dnnl::algorithm::convolution_direct;

// What identifies a convolution: the key of the cache of primitives.
struct Problem {
  Dims x, w, y, strides, dilations, pad_before, pad_after;
  bool bias, relu;
  Dims Key() const {
    Dims key = {bias, relu};
    for (const Dims* part : {&x, &w, &y, &strides, &dilations, &pad_before, &pad_after})
      key.insert(key.end(), part->begin(), part->end());
    return key;
  }
};

// The primitives of one problem, made when first needed.
class Conv {
 public:
  explicit Conv(const Problem& p) : p_(p) {
    x_ = Desc(p.x, kFloat, Tag::nhwc), y_ = Desc(p.y, kFloat, Tag::nhwc);
    w_ = Desc(p.w, kFloat, p.w.size() == 5 ? Tag::goihw : Tag::oihw);
    if (p.bias) b_ = Desc({p.y[1]}, kFloat, Tag::a);
    // Many channels on few pixels (VGG's end) are up to twice as fast in blocks, which oneDNN chooses where it may;
    // where the weights outnumber the pixels, reordering the images costs next to nothing.
    const Tag images = w_.get_size() > x_.get_size() ? Tag::any : Tag::nhwc;
    any_x_ = Desc(p.x, kFloat, images), any_y_ = Desc(p.y, kFloat, images), any_w_ = Desc(p.w, kFloat, Tag::any);
    hint_ = ForwardDesc(dnnl::primitive_attr());
  }

  void Forward(const float* x, const float* w, const float* b, float* y) {
    if (!forward_) {
      dnnl::primitive_attr attr;
      if (p_.relu) {
        dnnl::post_ops ops;
        ops.append_eltwise(dnnl::algorithm::eltwise_relu, 0.f, 0.f);
        attr.set_post_ops(ops);
      }
      const auto desc = ForwardDesc(attr);
      forward_.reset(new Primitive{{Operand::kX, x_, desc.src_desc(), false},
                                   {Operand::kW, w_, desc.weights_desc(), false},
                                   {Operand::kY, y_, desc.dst_desc(), true},
                                   dnnl::convolution_forward(desc)});
    }
    Primitive& f = *forward_;
    Args args = {{DNNL_ARG_SRC, f.x.Load(x)}, {DNNL_ARG_WEIGHTS, f.w.Load(w)}, {DNNL_ARG_DST, f.y.Target(y)}};
    if (b) args[DNNL_ARG_BIAS] = Bias(b);
    f.primitive.execute(Stream(), args);
    f.y.Store(y);
    Stream().wait();
  }

  void BackwardData(const float* dy, const float* w, float* dx) {
    if (!backward_data_) {
      const dnnl::convolution_backward_data::primitive_desc desc(Engine(), kDirect, any_x_, any_w_, any_y_, p_.strides,
                                                                 p_.dilations, p_.pad_before, p_.pad_after, hint_);
      backward_data_.reset(new Primitive{{Operand::kX, x_, desc.diff_src_desc(), true},
                                         {Operand::kW, w_, desc.weights_desc(), false},
                                         {Operand::kY, y_, desc.diff_dst_desc(), false},
                                         dnnl::convolution_backward_data(desc)});
    }
    Primitive& f = *backward_data_;
    f.primitive.execute(Stream(), {{DNNL_ARG_DIFF_DST, f.y.Load(dy)},
                                   {DNNL_ARG_WEIGHTS, f.w.Load(w)},
                                   {DNNL_ARG_DIFF_SRC, f.x.Target(dx)}});
    f.x.Store(dx);
    Stream().wait();
  }

  void BackwardWeights(const float* x, const float* dy, float* dw, float* db) {
    if (!backward_weights_) {
      const dnnl::convolution_backward_weights::primitive_desc desc(Engine(), kDirect, any_x_, any_w_, b_, any_y_,
                                                                    p_.strides, p_.dilations, p_.pad_before,
                                                                    p_.pad_after, hint_);
      backward_weights_.reset(new Primitive{{Operand::kX, x_, desc.src_desc(), false},
                                            {Operand::kW, w_, desc.diff_weights_desc(), true},
                                            {Operand::kY, y_, desc.diff_dst_desc(), false},
                                            dnnl::convolution_backward_weights(desc)});
    }
    Primitive& f = *backward_weights_;
    Args args = {{DNNL_ARG_SRC, f.x.Load(x)},
                 {DNNL_ARG_DIFF_DST, f.y.Load(dy)},
                 {DNNL_ARG_DIFF_WEIGHTS, f.w.Target(dw)}};
    if (db) args[DNNL_ARG_DIFF_BIAS] = Bias(db);
    f.primitive.execute(Stream(), args);
    f.w.Store(dw);
    Stream().wait();
  }

 private:
  using Args = std::unordered_map<int, dnnl::memory>;
  struct Primitive {
    Operand x, w, y;
    dnnl::primitive primitive;
  };

  dnnl::memory Bias(const float* data) const { return dnnl::memory(b_, Engine(), const_cast<float*>(data)); }

  dnnl::convolution_forward::primitive_desc ForwardDesc(const dnnl::primitive_attr& attr) const {
    return dnnl::convolution_forward::primitive_desc(Engine(), dnnl::prop_kind::forward_training, kDirect, any_x_,
                                                     any_w_, b_, any_y_, p_.strides, p_.dilations, p_.pad_before,
                                                     p_.pad_after, attr);
  }

  Problem p_;
  Desc x_, w_, y_, b_, any_x_, any_w_, any_y_;
  dnnl::convolution_forward::primitive_desc hint_;  // what backward primitives are made from; it may have no ReLU
  std::unique_ptr<Primitive> forward_, backward_data_, backward_weights_;
};

std::mutex mutex;  // one primitive at a time: they have scratch memory of their own, and oneDNN uses all threads

Conv& Cached(const Problem& problem) {
  static std::map<Dims, std::unique_ptr<Conv>> cache;
  std::unique_ptr<Conv>& conv = cache[problem.Key()];
  if (!conv) conv = std::make_unique<Conv>(problem);
  return *conv;
}

// geometry: strides (2), paddings (top, bottom, left, right), dilations (2), groups.
Problem Describe(const std::vector<int64_t>& x, const std::vector<int64_t>& w, const std::vector<int>& geometry,
                 bool bias, bool relu) {
  PD_CHECK(x.size() == 4 && w.size() == 4 && geometry.size() == 9,
           "paddle_cls_conv: x and w have 4 dimensions, geometry has 9 numbers");
  const auto& g = geometry;
  const int64_t groups = g[8];
  PD_CHECK(x[3] == w[1] * groups && w[0] % groups == 0, "paddle_cls_conv: channels do not fit the weights and groups");
  Problem p;
  p.x = {x[0], x[3], x[1], x[2]};
  p.w = w;
  if (groups > 1) p.w = {groups, w[0] / groups, w[1], w[2], w[3]};
  p.strides = {g[0], g[1]};
  p.pad_before = {g[2], g[4]};
  p.pad_after = {g[3], g[5]};
  p.dilations = {g[6] - 1, g[7] - 1};  // oneDNN counts the gaps
  const int64_t height = (x[1] + g[2] + g[3] - g[6] * (w[2] - 1) - 1) / g[0] + 1;
  const int64_t width = (x[2] + g[4] + g[5] - g[7] * (w[3] - 1) - 1) / g[1] + 1;
  PD_CHECK(height > 0 && width > 0, "paddle_cls_conv: the image is smaller than the kernel");
  p.y = {x[0], w[0], height, width};
  p.bias = bias, p.relu = relu;
  return p;
}

paddle::Tensor Empty(const std::vector<int64_t>& shape) {
  return paddle::experimental::empty(shape, paddle::DataType::FLOAT32, paddle::CPUPlace());
}

void CheckFloat(const paddle::Tensor& t) {
  PD_CHECK(t.is_cpu() && t.dtype() == paddle::DataType::FLOAT32, "paddle_cls_conv: float32 CPU tensors only");
}

std::vector<paddle::Tensor> ConvForward(const paddle::Tensor& x, const paddle::Tensor& w,
                                        const paddle::optional<paddle::Tensor>& b, const std::vector<int>& geometry,
                                        bool relu, bool need_dx, bool need_dw) {
  CheckFloat(x), CheckFloat(w);
  const Problem p = Describe(x.shape(), w.shape(), geometry, static_cast<bool>(b), relu);
  paddle::Tensor y = Empty({p.y[0], p.y[2], p.y[3], p.y[1]});
  std::lock_guard<std::mutex> lock(mutex);
  Cached(p).Forward(x.data<float>(), w.data<float>(), b ? b->data<float>() : nullptr, y.data<float>());
  return {y};
}

std::vector<paddle::Tensor> ConvBackward(const paddle::Tensor& x, const paddle::Tensor& w,
                                         const paddle::optional<paddle::Tensor>& b, const paddle::Tensor& y,
                                         const paddle::Tensor& dy, const std::vector<int>& geometry, bool relu,
                                         bool need_dx, bool need_dw) {
  const Problem p = Describe(x.shape(), w.shape(), geometry, static_cast<bool>(b), relu);
  const float* dy_data = dy.data<float>();
  std::vector<float> masked;
  if (relu) {
    masked.resize(dy.numel());
    const float* y_data = y.data<float>();
    for (size_t i = 0; i < masked.size(); ++i) masked[i] = y_data[i] > 0 ? dy_data[i] : 0.f;
    dy_data = masked.data();
  }
  // A gradient that nobody asked for stays unwritten: Paddle drops it, but wants a tensor of its shape.
  paddle::Tensor dx = Empty(x.shape());
  paddle::Tensor dw = Empty(w.shape());
  paddle::Tensor db;
  if (b) db = Empty(b->shape());
  std::lock_guard<std::mutex> lock(mutex);
  Conv& conv = Cached(p);
  if (need_dw)
    conv.BackwardWeights(x.data<float>(), dy_data, dw.data<float>(), b ? db.data<float>() : nullptr);
  if (need_dx) conv.BackwardData(dy_data, w.data<float>(), dx.data<float>());
  return {dx, dw, db};
}

std::vector<std::vector<int64_t>> ConvShape(const std::vector<int64_t>& x, const std::vector<int64_t>& w,
                                            const paddle::optional<std::vector<int64_t>>& b,
                                            const std::vector<int>& geometry, bool relu, bool need_dx, bool need_dw) {
  const Problem p = Describe(x, w, geometry, false, relu);
  return {{p.y[0], p.y[2], p.y[3], p.y[1]}};
}

std::vector<paddle::DataType> ConvType(paddle::DataType x, paddle::DataType w,
                                       const paddle::optional<paddle::DataType>& b) {
  return {x};
}

}  // namespace

PD_BUILD_OP(paddle_cls_conv)
    .Inputs({"X", "W", paddle::Optional("B")})
    .Outputs({"Y"})
    .Attrs({"geometry: std::vector<int>", "relu: bool", "need_dx: bool", "need_dw: bool"})
    .SetKernelFn(PD_KERNEL(ConvForward))
    .SetInferShapeFn(PD_INFER_SHAPE(ConvShape))
    .SetInferDtypeFn(PD_INFER_DTYPE(ConvType));

PD_BUILD_GRAD_OP(paddle_cls_conv)
    .Inputs({"X", "W", paddle::Optional("B"), "Y", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("W"), paddle::Grad(paddle::Optional("B"))})
    .Attrs({"geometry: std::vector<int>", "relu: bool", "need_dx: bool", "need_dw: bool"})
    .SetKernelFn(PD_KERNEL(ConvBackward));
