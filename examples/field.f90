! SPDX-License-Identifier: MIT
!
! A field in Fortran that other processes of the node can see and join, in the segment SHARED::node.
!
!     field [COLUMNS ROWS STEPS]
!
! Heat spreads over a plate (default 60 x 20, 2000 steps) with one hot edge, in a block named `plate` of real(8). While it
! runs, and until standard input ends, another process can look:
!
!     examples/plot.py plate --shape 20,60
!
! The last numbers come first there, for Fortran's arrays have the first index next to each other. Readers may see a
! step half done; whoever needs whole ones has to agree on a lock.
program heat
   use, intrinsic :: iso_fortran_env, only: output_unit, real64
   use shmcore
   implicit none
   type(shmcore_segment) :: segment
   real(real64), pointer :: plate(:, :)
   integer :: columns, rows, steps, step

   columns = argument(1, 60)
   rows = argument(2, 20)
   steps = argument(3, 2000)
   call shmcore_open('SHARED::node', segment)
   call shmcore_allocate(segment, 'plate', [columns, rows], plate)
   plate(:, :) = 0
   plate(:, 1) = 100
   do step = 1, steps
      call spread(plate)
   end do
   print '(a, f0.3)', 'mean ', sum(plate)/size(plate)
   flush (output_unit)
   call wait_for_end_of_input()
   call shmcore_deallocate(segment, plate)
   call shmcore_close(segment)
contains
   subroutine spread(t)
      real(real64), intent(inout) :: t(:, :)
      integer :: m, n
      m = size(t, 1)
      n = size(t, 2)
      t(2:m - 1, 2:n - 1) = t(2:m - 1, 2:n - 1) + 0.2_real64*(t(1:m - 2, 2:n - 1) + t(3:m, 2:n - 1) + &
         t(2:m - 1, 1:n - 2) + t(2:m - 1, 3:n) - 4*t(2:m - 1, 2:n - 1))
   end subroutine

   integer function argument(number, default)
      integer, intent(in) :: number, default
      character(20) :: text
      argument = default
      if (number > command_argument_count()) return
      call get_command_argument(number, text)
      read (text, *) argument
   end function

   subroutine wait_for_end_of_input()
      integer :: status
      status = 0
      do while (status == 0)
         read (*, '(a)', iostat=status)
      end do
   end subroutine
end program
