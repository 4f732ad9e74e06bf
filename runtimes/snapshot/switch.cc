#include "runtimes/snapshot/switch.h"

namespace dormouse::snapshot {

static_assert(offsetof(Registers, rsp) == 48 && offsetof(Registers, mxcsr) == 64);
static_assert(sizeof(Step) == 72 && offsetof(Script, woken) == 32);
static_assert(offsetof(Script, thread) == 40 && offsetof(Thread, registers) == 0);

#if defined(__x86_64__)

asm(R"(
  .text
  .globl dormouse_snapshot_mark
  .type dormouse_snapshot_mark, @function
dormouse_snapshot_mark:
  mov %rbx, (%rdi)
  mov %rbp, 8(%rdi)
  mov %r12, 16(%rdi)
  mov %r13, 24(%rdi)
  mov %r14, 32(%rdi)
  mov %r15, 40(%rdi)
  lea 8(%rsp), %rax
  mov %rax, 48(%rdi)
  mov (%rsp), %rax
  mov %rax, 56(%rdi)
  stmxcsr 64(%rdi)
  fnstcw 68(%rdi)
  xor %eax, %eax
  ret
  .size dormouse_snapshot_mark, . - dormouse_snapshot_mark

  .globl dormouse_snapshot_switch
  .globl dormouse_snapshot_switch_end
dormouse_snapshot_switch:         # rdi: the script, rsi: the stack's end
  mov %rsi, %rsp
  mov %rdi, %rbp                  # rbp: the script
  mov (%rbp), %rbx                # rbx: the step
  imul $72, 8(%rbp), %r15
  add %rbx, %r15                  # r15: behind the last one
1:
  cmp %r15, %rbx
  je 4f
  mov (%rbx), %rax
  mov 8(%rbx), %rdi
  mov 16(%rbx), %rsi
  mov 24(%rbx), %rdx
  mov 32(%rbx), %r10
  mov 40(%rbx), %r8
  mov 48(%rbx), %r9
  syscall
  mov 56(%rbx), %rcx              # Must
  cmp $1, %rcx
  ja 3f
  je 2f
  cmp 64(%rbx), %rax
  jne 5f
  jmp 3f
2:
  cmp $-4096, %rax
  ja 5f
3:
  add $72, %rbx
  jmp 1b
4:
  mov 32(%rbp), %rax              # What mark() gives,
  lea 40(%rbp), %rdi              # with these registers.
  ldmxcsr 64(%rdi)
  fldcw 68(%rdi)
  mov (%rdi), %rbx
  mov 8(%rdi), %rbp
  mov 16(%rdi), %r12
  mov 24(%rdi), %r13
  mov 32(%rdi), %r14
  mov 40(%rdi), %r15
  mov 48(%rdi), %rsp
  jmp *56(%rdi)
5:
  mov $1, %eax                    # write(2, failure, …)
  mov $2, %edi
  mov 16(%rbp), %rsi
  mov 24(%rbp), %rdx
  syscall
  mov $231, %eax                  # exit_group(113)
  mov $113, %edi
  syscall
  hlt
dormouse_snapshot_switch_end:
)");

extern "C" const char dormouse_snapshot_switch, dormouse_snapshot_switch_end;

const void* switch_code() {
  return &dormouse_snapshot_switch;
}

std::size_t switch_code_bytes() {
  return static_cast<std::size_t>(&dormouse_snapshot_switch_end - &dormouse_snapshot_switch);
}

#else
#error "how one process becomes another is written for x86-64 alone"
#endif

}  // namespace dormouse::snapshot
