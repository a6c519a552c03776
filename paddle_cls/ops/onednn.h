// oneDNN's engine and stream, and operands that change their layout on the way to a primitive and back.
#pragma once

#include "oneapi/dnnl/dnnl.hpp"

namespace {

using Dims = dnnl::memory::dims;
using Desc = dnnl::memory::desc;
using Tag = dnnl::memory::format_tag;
constexpr auto kFloat = dnnl::memory::data_type::f32;

dnnl::engine& Engine() {
  static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::stream& Stream() {
  static dnnl::stream stream(Engine());
  return stream;
}

// One operand of a primitive: the layout that the caller has, the one that oneDNN chose, and the way between them.
// Only one primitive runs at a time, so that all share the buffer of their role.
class Operand {
 public:
  enum Role { kX, kW, kY };

  Operand(Role role, const Desc& given, const Desc& chosen, bool result)
      : role_(role), given_(given), chosen_(chosen), same_(given == chosen) {
    if (same_) return;
    const Desc &from = result ? chosen : given, &to = result ? given : chosen;
    reorder_ = dnnl::reorder(dnnl::reorder::primitive_desc(Engine(), from, Engine(), to));
  }

  dnnl::memory Load(const float* data) {
    dnnl::memory caller(given_, Engine(), const_cast<float*>(data));
    if (same_) return caller;
    dnnl::memory buffer = Buffer();
    reorder_.execute(Stream(), caller, buffer);
    return buffer;
  }

  dnnl::memory Target(float* data) { return same_ ? dnnl::memory(given_, Engine(), data) : Buffer(); }

  void Store(float* data) {
    if (same_) return;
    dnnl::memory caller(given_, Engine(), data), buffer = Buffer();
    reorder_.execute(Stream(), buffer, caller);
  }

 private:
  dnnl::memory Buffer() const {
    static dnnl::memory memory[3];
    dnnl::memory& whole = memory[role_];
    const auto size = static_cast<dnnl::memory::dim>(chosen_.get_size());
    if (!whole || static_cast<dnnl::memory::dim>(whole.get_desc().get_size()) < size)
      whole = dnnl::memory(Desc({size}, dnnl::memory::data_type::u8, Tag::a), Engine());
    return dnnl::memory(chosen_, Engine(), whole.get_data_handle());
  }

  Role role_;
  Desc given_, chosen_;
  bool same_;
  dnnl::reorder reorder_;
};

}  // namespace
