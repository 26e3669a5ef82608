// The vertices of a lattice, in a hash table.

#pragma once

#include <cstddef>
#include <cstdint>

#include "store.hpp"
#include "vectors.hpp"

namespace {

// Vertices by key, numbered as they are added: a hash table of numbers, at most an eighth full.
class Vertices {
 public:
  Vector<uint64_t> keys;

  // The number, or -1. Whether a key is present is unpredictable, so no branch depends on it, only
  // on whether another key has its slot, which is rare.
  INLINE int32_t find(uint64_t key) const {
    const int32_t number = slots_[home(key)];
    const bool own = keys[number < 0 ? 0 : number] == key;
    if (__builtin_expect((number < 0) | own, 1)) return number;
    return slots_[place(key)];
  }

  INLINE int32_t find_or_add(uint64_t key) {
    const int32_t number = slots_[place(key)];
    return number >= 0 ? number : add(key);
  }

 private:
  int bits_ = 13;
  Vector<int32_t> slots_ = Vector<int32_t>(size_t(1) << bits_, -1);

  INLINE size_t home(uint64_t key) const { return (key * 0x9E3779B97F4A7C15u) >> (64 - bits_); }

  INLINE size_t place(uint64_t key) const {
    const size_t mask = slots_.size() - 1;
    size_t at = home(key);
    while (slots_[at] >= 0 && keys[slots_[at]] != key) at = (at + 1) & mask;
    return at;
  }

  __attribute__((noinline)) int32_t add(uint64_t key) {
    const int32_t number = int32_t(keys.size());
    slots_[place(key)] = number;
    keys.push_back(key);
    if (8 * keys.size() > slots_.size()) {
      bits_ += 2;
      slots_.assign(size_t(1) << bits_, -1);
      for (size_t i = 0; i < keys.size(); ++i) slots_[place(keys[i])] = int32_t(i);
    }
    return number;
  }
};

}  // namespace
