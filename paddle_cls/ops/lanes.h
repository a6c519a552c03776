// Sixteen floats at a time, and the walk over rows of channels that norm.cc and pool.cc share.
#pragma once

#include <cstdint>
#include <cstring>

namespace {

typedef float Lanes __attribute__((vector_size(64)));
typedef int32_t LaneMask __attribute__((vector_size(64)));
constexpr int64_t kLanes = 16;

// How many vectors of channels a loop over rows holds in registers, and how many floats of each are in use (0: `tail` of
// them, a slow loop); known at compile time.
template <int Vectors, int Floats = kLanes>
struct Group {
  static constexpr int vectors = Vectors;
  int64_t tail = Floats;

  Lanes Load(const float* p) const {
    Lanes v = {};
    if (Floats)
      std::memcpy(&v, p, Floats * sizeof(float));
    else
      for (int64_t i = 0; i < tail; ++i) v[i] = p[i];
    return v;
  }

  void Save(float* p, Lanes v) const {
    if (Floats)
      std::memcpy(p, &v, Floats * sizeof(float));
    else
      for (int64_t i = 0; i < tail; ++i) p[i] = v[i];
  }
};

// Calls f(c, group) for all channels: the group covers those from c on.
template <class F>
void ForChannels(int64_t channels, F f) {
  int64_t c = 0;
  for (; c + 4 * kLanes <= channels; c += 4 * kLanes) f(c, Group<4>{});
  for (; c + 2 * kLanes <= channels; c += 2 * kLanes) f(c, Group<2>{});
  for (; c + kLanes <= channels; c += kLanes) f(c, Group<1>{});
  if (c + 8 <= channels) f(c, Group<1, 8>{}), c += 8;
  if (c < channels) f(c, Group<1, 0>{channels - c});
}

}  // namespace
