// A binary heap of elements that are owned elsewhere and know their place in it: any of them can
// be taken out, or moved after its key changed, in O(log n) without a search.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "base/check.h"

namespace dormouse::scheduling {

// An element's place, counted from 1; 0: not in the heap.
using Place = std::size_t;

template <class T, Place T::* place, bool (*before)(const T&, const T&)>
class Heap {
 public:
  bool empty() const { return elements_.empty(); }
  std::size_t size() const { return elements_.size(); }
  T* top() const { return elements_.empty() ? nullptr : elements_.front(); }
  // The top first, then in any order.
  const std::vector<T*>& elements() const { return elements_; }
  // What comes after one of them in order: by a look at all.
  T* next(const T* one) const {
    T* first = nullptr;
    for (T* each : elements_) {
      if (before(*one, *each) && (!first || before(*each, *first))) first = each;
    }
    return first;
  }
  static bool holds(const T* element) { return element->*place != 0; }

  void push(T* element) {
    CHECK(!holds(element));
    elements_.push_back(element);
    rise(elements_.size(), element);
  }

  void erase(T* element) {
    CHECK(holds(element));
    const Place hole = std::exchange(element->*place, 0);
    T* last = elements_.back();
    elements_.pop_back();
    if (last == element) return;
    last->*place = hole;
    moved(last);
  }

  // Its key changed.
  void moved(T* element) {
    const Place at = element->*place;
    if (at > 1 && before(*element, *elements_[at / 2 - 1])) {
      rise(at, element);
    } else {
      sink(at, element);
    }
  }

 private:
  void put(Place at, T* element) {
    elements_[at - 1] = element;
    element->*place = at;
  }

  void rise(Place at, T* element) {
    while (at > 1 && before(*element, *elements_[at / 2 - 1])) {
      put(at, elements_[at / 2 - 1]);
      at /= 2;
    }
    put(at, element);
  }

  void sink(Place at, T* element) {
    for (Place child = 2 * at; child <= elements_.size(); child = 2 * at) {
      if (child < elements_.size() && before(*elements_[child], *elements_[child - 1])) ++child;
      if (!before(*elements_[child - 1], *element)) break;
      put(at, elements_[child - 1]);
      at = child;
    }
    put(at, element);
  }

  std::vector<T*> elements_;
};

}  // namespace dormouse::scheduling
