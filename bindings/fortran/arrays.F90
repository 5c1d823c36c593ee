! SPDX-License-Identifier: MIT
!
! One module for each element type that blocks can have: Fortran has no other way to write a procedure for several.
! (The modules say themselves what they use, for Meson does not look into included files.)

#define ELEMENT real(real32)
module shmcore_real32
   use shmcore_segments
#include "arrays.inc"
end module
#undef ELEMENT

#define ELEMENT real(real64)
module shmcore_real64
   use shmcore_segments
#include "arrays.inc"
end module
#undef ELEMENT

#define ELEMENT integer(int32)
module shmcore_int32
   use shmcore_segments
#include "arrays.inc"
end module
#undef ELEMENT

#define ELEMENT integer(int64)
module shmcore_int64
   use shmcore_segments
#include "arrays.inc"
end module
