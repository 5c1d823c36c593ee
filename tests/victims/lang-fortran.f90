! SPDX-License-Identifier: MIT
!
! Victim: Fortran's ways to memory. Says which of them the shim took.
module grid
   use, intrinsic :: iso_c_binding
   implicit none
   type cell
      real(8), allocatable :: values(:)
   end type
   real(8), allocatable, target :: field(:), copy(:)
   real(8), pointer :: direct(:)
   type(cell), allocatable, target :: cells(:)
contains
   logical function taken(address)
      type(c_ptr), intent(in) :: address
      integer(c_intptr_t) :: number
      number = transfer(address, number)
      taken = number >= int(z'210000000000', c_intptr_t) .and. number < int(z'290000000000', c_intptr_t)
   end function
   subroutine say(name, address)
      character(*), intent(in) :: name
      type(c_ptr), intent(in) :: address
      if (taken(address)) write (*, '(1x,a)', advance='no') name
   end subroutine
   subroutine make_field(n)
      integer, intent(in) :: n
      allocate (field(n))
      field = 1.5d0
   end subroutine
   subroutine make_direct(n)
      integer, intent(in) :: n
      allocate (direct(n))
      direct = 2.5d0
   end subroutine
   subroutine make_cells(n)
      integer, intent(in) :: n
      allocate (cells(2))
      allocate (cells(1)%values(n), cells(2)%values(n))
      cells(1)%values = 3
      cells(2)%values = 4
   end subroutine
   subroutine make_copy()
      copy = field
   end subroutine
   subroutine automatic(n)
      integer, intent(in) :: n
      real(8), target :: work(n)
      work = 5
      call say('automatic', c_loc(work))
      if (any(work > 5)) print *, 'NO'
   end subroutine
end module
program languages
   use grid
   implicit none
   integer, parameter :: n = 50000
   character(100) :: line
   integer :: status
   write (*, '(a)', advance='no') 'taken:'
   call make_field(n)
   call make_direct(n)
   call make_cells(n)
   call make_copy()
   call say('field', c_loc(field))
   call say('direct', c_loc(direct))
   call say('component', c_loc(cells(2)%values))
   call say('copy', c_loc(copy))
   call automatic(n)
   print '(a)', ''
   if (any(field > copy) .or. any(cells(2)%values > 4) .or. any(direct > 2.5d0)) print *, 'NO'
   write (line, '(f12.4)') sum(field) + sum(cells(1)%values)
   print '(a)', trim(adjustl(line))
   allocate (field(n), stat=status)
   print '(a,l1)', 'again: ', status /= 0
   deallocate (field, copy, cells, direct)
end program
