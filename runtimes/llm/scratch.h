// The memory that a step of a model computes in. Each step writes it before it reads it, so an
// instance that waits need not hold what the last one left: 5 MiB of a prompt of 64 tokens, 36 of
// one of 512, for a model of 250 MiB.
#pragma once

#include <ggml.h>

#include "runtimes/llm/pages.h"

namespace dormouse::llm {

// A graph is about to be computed. Where a card has a part in it, nothing is given back.
void note_scratch(ggml_cgraph*);

// A step has failed: what there is to compute in is not known before the next graph.
void forget_scratch();

// Gives back what the last graph was computed in, and says which pages that were; none if that was
// done already. Not while one is computed.
Pages give_back_scratch();

}  // namespace dormouse::llm
