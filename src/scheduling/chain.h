// A doubly linked list through its elements: they are owned elsewhere, and any of them leaves in
// O(1) without an allocation.
#pragma once

#include <cstddef>

#include "base/check.h"

namespace dormouse::scheduling {

template <class T>
struct Link {
  T* before = nullptr;
  T* after = nullptr;
  bool linked = false;
};

template <class T, Link<T> T::* link>
class Chain {
 public:
  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }
  T* front() const { return front_; }
  static T* after(const T* element) { return (element->*link).after; }
  static bool holds(const T* element) { return (element->*link).linked; }

  void push_back(T* element) {
    Link<T>& own = element->*link;
    CHECK(!own.linked);
    own = {back_, nullptr, true};
    (back_ ? (back_->*link).after : front_) = element;
    back_ = element;
    ++size_;
  }

  void erase(T* element) {
    Link<T>& own = element->*link;
    CHECK(own.linked);
    (own.before ? (own.before->*link).after : front_) = own.after;
    (own.after ? (own.after->*link).before : back_) = own.before;
    own = {};
    --size_;
  }

 private:
  T* front_ = nullptr;
  T* back_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace dormouse::scheduling
