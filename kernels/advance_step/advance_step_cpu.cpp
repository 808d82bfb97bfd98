#include "kernels/advance_step/advance_step.h"

namespace tessera {

void AdvanceStep::operator()(Cpu) const { advance_step(*state, *scan, policy); }

}  // namespace tessera
