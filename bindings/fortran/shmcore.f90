! SPDX-License-Identifier: MIT
!
! Named blocks of memory that all processes of a node share, as Fortran arrays: the module to use. It is a choice from
! libshmcore, whose header shmcore.h says what the words mean.
!
!     use shmcore
!     type(shmcore_segment) :: segment
!     real(real64), pointer :: field(:, :)
!     call shmcore_open('SHARED::node', segment)
!     call shmcore_allocate(segment, 'field', [1000, 1000], field)   ! makes it, or joins it
!     call shmcore_deallocate(segment, field)                        ! lets go of it
!     call shmcore_close(segment)
!
! Arrays are pointers to real(real32), real(real64), integer(int32) or integer(int64), of rank 1 to 3, in Fortran's order.
! A shape is an array of integers of any kind. After shmcore_deallocate and shmcore_close nothing may point there any more:
! Fortran cannot see that, and neither can this.
!
!   shmcore_open(name, segment [, size, read_only, persist, directory, job, interleave])
!   shmcore_close(segment)
!   shmcore_remove(name [, directory, job])
!   shmcore_allocate(segment, name, shape, array)   the block, of just that size; zeros when it is new
!   shmcore_attach(segment, name, shape, array)     one that is there, held from now on. Its last extent may be -1, for as
!                                                   many as there are; an array may be shorter than the block
!   shmcore_find(segment, name, shape, array)       the same without holding it: for exported blocks, and segments that are
!                                                   open for reading only, where a write is a segmentation fault
!   shmcore_deallocate(segment, array)              gives back what allocate or attach gave
!   shmcore_bytes(segment, name)                    its size as integer(int64); -1: there is none
!   shmcore_stat(segment, statistics)               what the segment holds
!   shmcore_handle(segment)                         the segment as C functions know it, such as libshmcore-mpi's
!   shmcore_address_stable(segment)                 whether addresses are the same in all processes
!
! All subroutines end with the optional arguments stat and errmsg, as ALLOCATE has them: stat is 0 or an errno, errmsg a
! sentence, set only on failure. Without stat a failure ends the program. A name ends with its last character that is no
! blank.
module shmcore
   use shmcore_segments, only: shmcore_segment, shmcore_statistics, shmcore_open, shmcore_close, shmcore_remove, &
      shmcore_bytes, shmcore_stat, shmcore_address_stable, shmcore_handle
   use shmcore_real32, only: shmcore_allocate, shmcore_attach, shmcore_find, shmcore_deallocate
   use shmcore_real64, only: shmcore_allocate, shmcore_attach, shmcore_find, shmcore_deallocate
   use shmcore_int32, only: shmcore_allocate, shmcore_attach, shmcore_find, shmcore_deallocate
   use shmcore_int64, only: shmcore_allocate, shmcore_attach, shmcore_find, shmcore_deallocate
   implicit none
   public
end module
