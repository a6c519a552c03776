// A plan's steps, one after the other, from the numbers that plan.py writes.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <vector>

#include "onednn.h"

namespace {

enum Kind { kConv, kLinear, kPool, kActivation, kBinary, kNorm, kConcat };  // as in plan.py

struct Plan {  // of one step
  Kind kind;
  Dims inputs, dead;  // numbers of steps; 0 are the images
  dnnl::algorithm activation;
  float alpha, beta;
  std::vector<double> numbers;
  Dims weights;

  Dims Integers(size_t from, size_t count) const {
    if (from + count > numbers.size()) throw std::runtime_error("a step of the plan has too few numbers");
    return Dims(numbers.begin() + from, numbers.begin() + from + count);
  }
};

class Reader {
 public:
  Reader(const double* code, int64_t length) : code_(code), end_(code + length) {}

  bool Done() const { return code_ == end_; }

  Plan Read() {
    using dnnl::algorithm;
    constexpr algorithm kActivations[] = {algorithm::undef,               algorithm::eltwise_relu,
                                          algorithm::eltwise_clip,        algorithm::eltwise_logistic,
                                          algorithm::eltwise_swish,       algorithm::eltwise_hardswish,
                                          algorithm::eltwise_hardsigmoid, algorithm::eltwise_linear};
    Plan plan;
    plan.kind = static_cast<Kind>(Number());
    plan.inputs = Integers(), plan.dead = Integers();
    plan.activation = kActivations[static_cast<int>(Number())];
    plan.alpha = Number(), plan.beta = Number();
    plan.numbers = Numbers(), plan.weights = Integers();
    return plan;
  }

 private:
  double Number() {
    if (Done()) throw std::runtime_error("the plan ends early");
    return *code_++;
  }
  std::vector<double> Numbers() {
    std::vector<double> all(static_cast<size_t>(Number()));
    for (double& each : all) each = Number();
    return all;
  }
  Dims Integers() {
    const std::vector<double> all = Numbers();
    return Dims(all.begin(), all.end());
  }

  const double *code_, *end_;
};

}  // namespace
