// Sixteen floats at a time, and the walk over rows of channels that norm.cc and pool.cc share.
#pragma once

#include <cstdint>
#include <cstring>

namespace {

typedef float Lanes __attribute__((vector_size(64)));
typedef int32_t LaneMask __attribute__((vector_size(64)));
constexpr int64_t kLanes = 16;

// How many vectors of channels a loop over rows holds in registers, known at compile time.
template <int Vectors, bool Full>
struct Group {
  static constexpr int vectors = Vectors;
  int64_t tail;  // floats in the only vector, where that is not full

  Lanes Load(const float* p) const {
    Lanes v = {};
    if (Full)
      std::memcpy(&v, p, sizeof(v));
    else
      for (int64_t i = 0; i < tail; ++i) v[i] = p[i];
    return v;
  }

  void Save(float* p, Lanes v) const {
    if (Full)
      std::memcpy(p, &v, sizeof(v));
    else
      for (int64_t i = 0; i < tail; ++i) p[i] = v[i];
  }
};

// Calls f(c, group) for all channels: the group covers those from c on.
template <class F>
void ForChannels(int64_t channels, F f) {
  int64_t c = 0;
  for (; c + 4 * kLanes <= channels; c += 4 * kLanes) f(c, Group<4, true>{});
  for (; c + 2 * kLanes <= channels; c += 2 * kLanes) f(c, Group<2, true>{});
  for (; c + kLanes <= channels; c += kLanes) f(c, Group<1, true>{});
  if (c < channels) f(c, Group<1, false>{channels - c});
}

}  // namespace
