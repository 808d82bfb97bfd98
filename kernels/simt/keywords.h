// The keywords of CUDA C++ for a host compiler: they mean nothing there. (`__launch_bounds__(…)` is defined on the
// command line of the SIMT build.)
#pragma once

#define __global__
#define __device__
#define __host__
#define __grid_constant__
