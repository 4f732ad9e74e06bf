#include <cpuid.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <thread>

#include "runtimes/snapshot/snapshot.h"

namespace dormouse::snapshot {
namespace {

void add(std::string& to, unsigned value) {
  std::array<char, 8> digits;
  const auto end = std::to_chars(digits.begin(), digits.end(), value, 16).ptr;
  to.append(digits.begin(), end).push_back('.');
}

// The leaves by which libraries choose their code.
std::string processor() {
  std::string text;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0) {
    for (const unsigned each : {eax, ecx, edx}) add(text, each);
  }
  for (const unsigned part : {0u, 1u}) {
    if (__get_cpuid_count(7, part, &eax, &ebx, &ecx, &edx) == 0) continue;
    for (const unsigned each : {eax, ebx, ecx, edx}) add(text, each);
  }
  // Of what it has, the kernel may have turned off a part.
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_OSXSAVE) != 0) {
    asm volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
    for (const unsigned each : {eax, edx}) add(text, each);
  }
  if (__get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx) != 0) {
    for (const unsigned each : {ecx, edx}) add(text, each);
  }
  return text;
}

}  // namespace

std::string machine() {
  utsname names{};
  uname(&names);
  std::string text = std::string(names.release) + " " + names.version + " " + processor();
  text += std::to_string(std::thread::hardware_concurrency());
  for (char** each = environ; each != nullptr && *each != nullptr; ++each) {
    text.append(" ").append(*each);
  }
  return text;
}

}  // namespace dormouse::snapshot
