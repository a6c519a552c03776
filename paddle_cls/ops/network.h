// A whole network's inference as one list of oneDNN primitives, made once for a number of images and then only executed:
// what is between two primitives is a loop, where Paddle Inference spends more than the primitives of a small network.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "onednn.h"
#include "plan.h"

namespace {

using dnnl::algorithm;
constexpr auto kInference = dnnl::prop_kind::forward_inference;

dnnl::memory Wrap(const Desc& desc, const void* data) { return dnnl::memory(desc, Engine(), const_cast<void*>(data)); }

class Network {
 public:
  // code: see plan.py; weights: what its indices mean; all of it is not needed any more afterwards. classes: logits of an image.
  Network(const double* code, int64_t length, const float* const* weights, const Dims& images, int64_t classes)
      : weights_(weights) {
    input_ = Wrap(Desc(images, kFloat, Tag::nchw), nullptr);
    values_.push_back({input_, nullptr});
    for (Reader reader(code, length); !reader.Done();) Step(reader.Read());
    const Dims dims = values_.back().memory.get_desc().get_dims();
    const int64_t given = std::accumulate(dims.begin() + 1, dims.end(), int64_t{1}, std::multiplies<int64_t>());
    if (given != classes)
      throw std::runtime_error("the plan gives " + std::to_string(given) + " numbers for each image, not " +
                               std::to_string(classes));
    const Desc plain(dims, kFloat, dims.size() == 4 ? Tag::nchw : Tag::nc);
    output_ = Wrap(plain, nullptr);
    Add(dnnl::reorder(values_.back().memory, output_), {{DNNL_ARG_SRC, values_.back().memory}, {DNNL_ARG_DST, output_}});
    Stream().wait();
  }

  void Run(const float* images, float* logits) {
    input_.set_data_handle(const_cast<float*>(images));
    output_.set_data_handle(logits);
    for (const auto& [primitive, arguments] : steps_) primitive.execute(Stream(), arguments);
    Stream().wait();
  }

 private:
  using Arguments = std::unordered_map<int, dnnl::memory>;
  using Buffer = std::shared_ptr<dnnl::memory>;
  struct Value {
    dnnl::memory memory;
    Buffer buffer;  // whose memory it is; none of the images
  };

  void Add(dnnl::primitive primitive, Arguments arguments) { steps_.emplace_back(std::move(primitive), std::move(arguments)); }

  // Gives a value a buffer that no living value has: the smallest that is large enough, or a new one.
  Value New(const Desc& desc) {
    const size_t size = desc.get_size();
    auto best = free_.end();
    for (auto it = free_.begin(); it != free_.end(); ++it) {
      const size_t has = (*it)->get_desc().get_size();
      if (has >= size && (best == free_.end() || has < (*best)->get_desc().get_size())) best = it;
    }
    Buffer buffer;
    if (best == free_.end()) {
      const Desc bytes({static_cast<dnnl::memory::dim>(size)}, dnnl::memory::data_type::u8, Tag::a);
      buffer = std::make_shared<dnnl::memory>(bytes, Engine());
      buffers_.push_back(buffer);
    } else {
      buffer = *best;
      free_.erase(best);
    }
    return {Wrap(desc, buffer->get_data_handle()), buffer};
  }

  void Free(Value& value) {
    if (value.buffer) free_.push_back(value.buffer);
    value.buffer = nullptr;
  }

  // Returns the value in the layout `wanted`, by a step of its own where it has another.
  Value Fit(const Value& value, const Desc& wanted) {
    if (value.memory.get_desc() == wanted) return {value.memory, nullptr};
    Value fitted = New(wanted);
    Add(dnnl::reorder(value.memory, fitted.memory), {{DNNL_ARG_SRC, value.memory}, {DNNL_ARG_DST, fitted.memory}});
    return fitted;
  }

  // Copies a weight, now, to the layout that a primitive wants.
  dnnl::memory Weight(int64_t index, const Desc& given, const Desc& wanted) {
    dnnl::memory from = Wrap(given, weights_[index]), to(wanted, Engine());
    dnnl::reorder(from, to).execute(Stream(), from, to);
    Stream().wait();
    return to;
  }

  static dnnl::primitive_attr Attributes(const Plan& plan, bool sum = false) {
    dnnl::post_ops ops;
    if (sum) ops.append_sum();
    if (plan.activation != algorithm::undef) ops.append_eltwise(plan.activation, plan.alpha, plan.beta);
    dnnl::primitive_attr attributes;
    attributes.set_post_ops(ops);
    return attributes;
  }

  void Step(const Plan& plan) {
    std::vector<Value> x;
    for (const int64_t slot : plan.inputs) x.push_back(values_.at(slot));
    Value y;
    if (plan.kind == kConv) y = Convolve(plan, x);
    if (plan.kind == kLinear) y = Multiply(plan, x[0]);
    if (plan.kind == kPool) y = Pool(plan, x[0]);
    if (plan.kind == kActivation) y = Activate(plan, x[0]);
    if (plan.kind == kBinary) y = Combine(plan, x[0], x[1]);
    if (plan.kind == kNorm) y = Normalize(plan, x[0]);
    if (plan.kind == kConcat) y = Concatenate(x);
    for (const int64_t slot : plan.dead)
      if (values_[slot].buffer != y.buffer) Free(values_[slot]);
    values_.push_back(y);
  }

  // x: the images and, where there is one, what is added to the result, whose buffer it takes over if nobody else needs it.
  Value Convolve(const Plan& plan, const std::vector<Value>& x) {
    const bool sum = x.size() > 1;
    const Dims strides = plan.Integers(0, 2), before = plan.Integers(2, 2), after = plan.Integers(4, 2);
    const Dims dilations = plan.Integers(6, 2), w = plan.Integers(8, 5), y = plan.Integers(13, 2);
    const Dims images = x[0].memory.get_desc().get_dims(), result = {images[0], w[0] * w[1], y[0], y[1]};
    const Dims shape = w[0] > 1 ? w : Dims(w.begin() + 1, w.end());
    const Desc any_y = sum ? x[1].memory.get_desc() : Desc(result, kFloat, Tag::any);
    const dnnl::convolution_forward::primitive_desc desc(
        Engine(), kInference, algorithm::convolution_direct, Desc(images, kFloat, Tag::any), Desc(shape, kFloat, Tag::any),
        Bias(plan, result[1]), any_y, strides, dilations, before, after, Attributes(plan, sum));
    const auto dies = [&](int64_t slot) { return values_[slot].buffer == x[1].buffer; };
    const bool in_place = sum && x[1].buffer && x[1].buffer != x[0].buffer &&
                          std::any_of(plan.dead.begin(), plan.dead.end(), dies);
    const Value target = in_place ? x[1] : New(desc.dst_desc());
    if (sum && !in_place)
      Add(dnnl::reorder(x[1].memory, target.memory), {{DNNL_ARG_SRC, x[1].memory}, {DNNL_ARG_DST, target.memory}});
    const Desc given(shape, kFloat, w[0] > 1 ? Tag::goihw : Tag::oihw);
    Weigh(plan, dnnl::convolution_forward(desc), x[0], desc.src_desc(), given, desc.weights_desc(), target);
    return target;
  }

  Value Multiply(const Plan& plan, const Value& x) {
    const Dims images = x.memory.get_desc().get_dims(), result = {images[0], plan.Integers(0, 1)[0]};
    Dims shape = images;
    shape[0] = result[1];
    const dnnl::inner_product_forward::primitive_desc desc(
        Engine(), kInference, Desc(images, kFloat, Tag::any), Desc(shape, kFloat, Tag::any), Bias(plan, result[1]),
        Desc(result, kFloat, Tag::any), Attributes(plan));
    const Value target = New(desc.dst_desc());
    const Desc given(shape, kFloat, shape.size() == 4 ? Tag::oihw : Tag::oi);
    Weigh(plan, dnnl::inner_product_forward(desc), x, desc.src_desc(), given, desc.weights_desc(), target);
    return target;
  }

  static Desc Bias(const Plan& plan, int64_t size) { return plan.weights.size() > 1 ? Desc({size}, kFloat, Tag::a) : Desc(); }

  // Adds a primitive that has weights and perhaps a bias: `given` is the layout of the plan's weights, `wanted` the primitive's.
  void Weigh(const Plan& plan, dnnl::primitive primitive, const Value& x, const Desc& wanted_x, const Desc& given,
             const Desc& wanted, const Value& target) {
    Value source = Fit(x, wanted_x);
    Arguments arguments = {{DNNL_ARG_SRC, source.memory}, {DNNL_ARG_DST, target.memory}};
    arguments[DNNL_ARG_WEIGHTS] = Weight(plan.weights.at(0), given, wanted);
    const Desc bias = Bias(plan, target.memory.get_desc().get_dims()[1]);
    if (plan.weights.size() > 1) arguments[DNNL_ARG_BIAS] = Weight(plan.weights[1], bias, bias);
    Add(std::move(primitive), std::move(arguments));
    Free(source);
  }

  Value Pool(const Plan& plan, const Value& x) {
    constexpr algorithm kHow[] = {algorithm::pooling_max, algorithm::pooling_avg_include_padding,
                                  algorithm::pooling_avg_exclude_padding};
    const Dims kernel = plan.Integers(1, 2), strides = plan.Integers(3, 2), before = plan.Integers(5, 2);
    const Dims after = plan.Integers(7, 2), y = plan.Integers(9, 2), images = x.memory.get_desc().get_dims();
    const dnnl::pooling_forward::primitive_desc desc(
        Engine(), kInference, kHow[static_cast<int>(plan.numbers[0])], x.memory.get_desc(),
        Desc({images[0], images[1], y[0], y[1]}, kFloat, Tag::any), strides, kernel, {0, 0}, before, after);
    const Value target = New(desc.dst_desc());
    Add(dnnl::pooling_forward(desc), {{DNNL_ARG_SRC, x.memory}, {DNNL_ARG_DST, target.memory}});
    return target;
  }

  Value Activate(const Plan& plan, const Value& x) {
    const Desc same = x.memory.get_desc();
    const Value target = New(same);
    Add(dnnl::eltwise_forward({Engine(), kInference, plan.activation, same, same, plan.alpha, plan.beta}),
        {{DNNL_ARG_SRC, x.memory}, {DNNL_ARG_DST, target.memory}});
    return target;
  }

  Value Combine(const Plan& plan, const Value& a, const Value& b) {
    const algorithm how = plan.Integers(0, 1)[0] ? algorithm::binary_mul : algorithm::binary_add;
    const Desc first = a.memory.get_desc();
    const Value target = New(first);
    Add(dnnl::binary({Engine(), how, first, b.memory.get_desc(), first, Attributes(plan)}),
        {{DNNL_ARG_SRC_0, a.memory}, {DNNL_ARG_SRC_1, b.memory}, {DNNL_ARG_DST, target.memory}});
    return target;
  }

  Value Normalize(const Plan& plan, const Value& x) {
    const Desc same = x.memory.get_desc(), channels({same.get_dims()[1]}, kFloat, Tag::a);
    using Flags = dnnl::normalization_flags;
    auto flags = Flags::use_global_stats | Flags::use_scale | Flags::use_shift;
    if (plan.activation != algorithm::undef) flags = flags | Flags::fuse_norm_relu;  // plan.py gives it no other
    const Value target = New(same);
    Arguments arguments = {{DNNL_ARG_SRC, x.memory}, {DNNL_ARG_DST, target.memory}};
    constexpr int kRoles[] = {DNNL_ARG_MEAN, DNNL_ARG_VARIANCE, DNNL_ARG_SCALE, DNNL_ARG_SHIFT};
    for (int i = 0; i < 4; ++i) arguments[kRoles[i]] = Weight(plan.weights.at(i), channels, channels);
    Add(dnnl::batch_normalization_forward({Engine(), kInference, same, same, static_cast<float>(plan.numbers.at(0)), flags}),
        std::move(arguments));
    return target;
  }

  Value Concatenate(const std::vector<Value>& x) {
    std::vector<Desc> descs;
    for (const Value& each : x) descs.push_back(each.memory.get_desc());
    const dnnl::concat::primitive_desc desc(Engine(), 1, descs);
    const Value target = New(desc.dst_desc());
    Arguments arguments = {{DNNL_ARG_DST, target.memory}};
    for (size_t i = 0; i < x.size(); ++i) arguments[DNNL_ARG_MULTIPLE_SRC + i] = x[i].memory;
    Add(dnnl::concat(desc), std::move(arguments));
    return target;
  }

  const float* const* weights_;
  dnnl::memory input_, output_;
  std::vector<Value> values_;
  std::vector<Buffer> buffers_, free_;
  std::vector<std::pair<dnnl::primitive, Arguments>> steps_;
};

}  // namespace
