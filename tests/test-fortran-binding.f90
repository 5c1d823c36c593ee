! SPDX-License-Identifier: MIT
!
! What must hold of the module shmcore of Fortran, and what fortran-binding.sh needs beside that. The segment is
! SHARED::node of the job in SHM_JOB.
!
!     test-fortran-binding facts       every line begins with `yes` or `NO`
!     test-fortran-binding hold        makes `grid`, says `ready`, waits for a line, says what another has written there
!     test-fortran-binding sum NAME    the sum of a block of another process, not held
!     test-fortran-binding fatal       fails without stat=
program binding
   use, intrinsic :: iso_fortran_env, only: int32, int64, output_unit, real32, real64
   use shmcore
   implicit none
   character(300) :: role
   call get_command_argument(1, role)
   select case (role)
   case ('facts')
      call test_types()
      call test_shapes()
      call test_attach()
      call test_refusals()
      call test_read_only()
      call test_segments()
   case ('hold')
      call hold()
   case ('sum')
      call sum_up()
   case ('fatal')
      call fatal()
   case default
      error stop 'no such role'
   end select
contains

   subroutine check(fact, what)
      logical, intent(in) :: fact
      character(*), intent(in) :: what
      print '(2a)', merge('yes ', 'NO  ', fact), what
   end subroutine

   integer function blocks(segment)
      type(shmcore_segment), intent(in) :: segment
      type(shmcore_statistics) :: statistics
      call shmcore_stat(segment, statistics)
      blocks = int(statistics%blocks)
   end function

   subroutine open_segment(segment)
      type(shmcore_segment), intent(out) :: segment
      call shmcore_open('SHARED::node', segment, size=64_int64*1024*1024)
   end subroutine

   ! ---- what there is

   subroutine test_types()
      type(shmcore_segment) :: segment
      real(real32), pointer :: r4(:), r4_2(:, :), r4_3(:, :, :), other_r4(:)
      real(real64), pointer :: r8(:), r8_2(:, :), r8_3(:, :, :), other_r8(:, :)
      integer(int32), pointer :: i4(:), i4_2(:, :), i4_3(:, :, :), other_i4(:, :, :)
      integer(int64), pointer :: i8(:), i8_2(:, :), i8_3(:, :, :), other_i8(:)
      call open_segment(segment)
      call shmcore_allocate(segment, 'r4', [5], r4)
      call shmcore_allocate(segment, 'r4_2', [5, 6], r4_2)
      call shmcore_allocate(segment, 'r4_3', [5, 6, 7], r4_3)
      call shmcore_allocate(segment, 'r8', [5], r8)
      call shmcore_allocate(segment, 'r8_2', [5, 6], r8_2)
      call shmcore_allocate(segment, 'r8_3', [5, 6, 7], r8_3)
      call shmcore_allocate(segment, 'i4', [5], i4)
      call shmcore_allocate(segment, 'i4_2', [5, 6], i4_2)
      call shmcore_allocate(segment, 'i4_3', [5, 6, 7], i4_3)
      call shmcore_allocate(segment, 'i8', [5], i8)
      call shmcore_allocate(segment, 'i8_2', [5, 6], i8_2)
      call shmcore_allocate(segment, 'i8_3', [5_int64, 6_int64, 7_int64], i8_3)
      call check(blocks(segment) == 12, 'twelve blocks')
      call check(all(shape(r4) == [5]) .and. all(shape(r8_2) == [5, 6]) .and. all(shape(i8_3) == [5, 6, 7]), 'their shapes')
      call check(shmcore_bytes(segment, 'r4_3') == 840 .and. shmcore_bytes(segment, 'i8_2') == 240 .and. &
         shmcore_bytes(segment, 'r8') == 40 .and. shmcore_bytes(segment, 'i4') == 20, 'their sizes')
      call check(all(r4_3 == 0) .and. all(r8_3 == 0) .and. all(i4_3 == 0) .and. all(i8_3 == 0), 'zeros')
      r4(5) = 1.5
      r8_2(2, 3) = 2.5d0
      i4_3(1, 2, 3) = -7
      i8(4) = 2_int64**40
      call shmcore_allocate(segment, 'r4', [5], other_r4)
      call shmcore_allocate(segment, 'r8_2', [5, 6], other_r8)
      call shmcore_allocate(segment, 'i4_3', [5, 6, 7], other_i4)
      call shmcore_allocate(segment, 'i8', [5], other_i8)
      call check(associated(other_r4, r4) .and. associated(other_r8, r8_2) .and. associated(other_i4, i4_3) .and. &
         associated(other_i8, i8), 'the same name is the same memory')
      call check(other_r4(5) == 1.5 .and. other_r8(2, 3) == 2.5d0 .and. other_i4(1, 2, 3) == -7 .and. &
         other_i8(4) == 2_int64**40, 'with the same values')
      call shmcore_deallocate(segment, other_r4)
      call shmcore_deallocate(segment, other_r8)
      call shmcore_deallocate(segment, other_i4)
      call shmcore_deallocate(segment, other_i8)
      call check(.not. (associated(other_r4) .or. associated(other_r8) .or. associated(other_i4) .or. &
         associated(other_i8)), 'nothing points to what was given back')
      call check(blocks(segment) == 12, 'the first references hold the blocks')
      call shmcore_deallocate(segment, r4)
      call shmcore_deallocate(segment, r4_2)
      call shmcore_deallocate(segment, r4_3)
      call shmcore_deallocate(segment, r8)
      call shmcore_deallocate(segment, r8_2)
      call shmcore_deallocate(segment, r8_3)
      call shmcore_deallocate(segment, i4)
      call shmcore_deallocate(segment, i4_2)
      call shmcore_deallocate(segment, i4_3)
      call shmcore_deallocate(segment, i8)
      call shmcore_deallocate(segment, i8_2)
      call shmcore_deallocate(segment, i8_3)
      call check(blocks(segment) == 0, 'all of them can be given back')
      call shmcore_close(segment)
   end subroutine

   subroutine test_shapes()
      type(shmcore_segment) :: segment
      real(real64), pointer :: plane(:, :), line(:)
      integer :: i, j
      call open_segment(segment)
      call shmcore_allocate(segment, 'plane', [3, 4], plane)
      do j = 1, 4
         do i = 1, 3
            plane(i, j) = 10*i + j
         end do
      end do
      call shmcore_find(segment, 'plane   ', [-1], line)
      call check(size(line) == 12 .and. line(1) == 11 .and. line(2) == 21 .and. line(4) == 12, 'the order is Fortran''s')
      call shmcore_deallocate(segment, plane)
      call shmcore_allocate(segment, 'empty', [0, 7], plane)
      call check(all(shape(plane) == [0, 7]) .and. shmcore_bytes(segment, 'empty') == 0, 'an extent of 0')
      call shmcore_deallocate(segment, plane)
      call check(.not. associated(plane) .and. blocks(segment) == 0, 'an empty array can be given back')
      call shmcore_deallocate(segment, plane)
      call check(.not. associated(plane), 'and so can no array at all')
      call shmcore_close(segment)
   end subroutine

   subroutine test_attach()
      type(shmcore_segment) :: segment
      integer(int32), pointer :: made(:), there(:), table(:, :)
      integer :: stat
      character(200) :: errmsg
      call open_segment(segment)
      call shmcore_attach(segment, 'made', [-1], there, stat, errmsg)
      call check(stat == 2 .and. index(errmsg, 'made') > 0 .and. .not. associated(there), 'attach makes nothing')
      call check(blocks(segment) == 0 .and. shmcore_bytes(segment, 'made') == -1, 'nothing at all')
      call shmcore_allocate(segment, 'made', [10], made)
      made = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
      call shmcore_attach(segment, 'made', [-1], there)
      call check(size(there) == 10 .and. there(10) == 10, 'as many as there are')
      call shmcore_attach(segment, 'made', [4, -1], table)
      call check(all(shape(table) == [4, 2]) .and. table(4, 2) == 8, 'as many columns as there are')
      call shmcore_deallocate(segment, made)
      call shmcore_deallocate(segment, there)
      call check(blocks(segment) == 1 .and. table(1, 1) == 1, 'each attach is a reference')
      call shmcore_attach(segment, 'made', [11], there, stat, errmsg)
      call check(stat == 17 .and. index(errmsg, 'too small') > 0 .and. .not. associated(there), 'never longer than the block')
      call shmcore_deallocate(segment, table)
      call check(blocks(segment) == 0, 'what was refused holds nothing')
      call shmcore_close(segment)
   end subroutine

   ! ---- what is refused

   subroutine test_refusals()
      type(shmcore_segment) :: segment, closed
      real(real64), pointer :: array(:), part(:), plane(:, :), none(:)
      integer :: stat
      character(200) :: errmsg
      call open_segment(segment)
      call shmcore_allocate(segment, 'array', [10], array)
      errmsg = 'untouched'
      call shmcore_allocate(segment, 'array', [10], part, stat, errmsg)
      call check(stat == 0 .and. errmsg == 'untouched', 'a success says nothing')
      call shmcore_deallocate(segment, part, stat)
      call shmcore_allocate(segment, 'array', [11], none, stat, errmsg)
      call check(stat == 17 .and. index(errmsg, '80 bytes and 88') > 0, 'another size')
      call check(.not. associated(none), 'a failure gives no array')
      call shmcore_allocate(segment, 'new', [-1], none, stat, errmsg)
      call check(stat == 22 .and. index(errmsg, 'new') > 0, 'a negative extent')
      call shmcore_attach(segment, 'array', [-1, 2], plane, stat)
      call check(stat == 22, 'an open extent that is not the last')
      call shmcore_allocate(segment, 'new', [1, 2], none, stat)
      call check(stat == 22, 'a shape of another rank')
      call shmcore_allocate(segment, 'new', [1.0, 2.0], plane, stat)
      call check(stat == 22, 'a shape that is no integers')
      call shmcore_allocate(segment, 'new', [huge(1_int64)], none, stat)
      call check(stat == 12, 'more than can be counted')
      call shmcore_allocate(segment, 'new', [2_int64**61 + 1], none, stat) ! 2**64 + 8 bytes
      call check(stat == 12, 'nor is that taken for a little')
      call shmcore_allocate(segment, 'new', [64*1024*1024], none, stat)
      call check(stat == 12, 'more than there is')
      call shmcore_allocate(segment, '', [1], none, stat)
      call check(stat == 22, 'no name')
      call shmcore_allocate(segment, repeat('x', 256), [1], none, stat)
      call check(stat == 36, 'a long name')
      part => array(2:)
      call shmcore_deallocate(segment, part, stat, errmsg)
      call check(stat == 22 .and. associated(part), 'a part of an array is not given back')
      part => array
      call shmcore_deallocate(segment, array)
      call shmcore_deallocate(segment, part, stat, errmsg)
      call check(stat == 22 .and. index(errmsg, 'freed before') > 0, 'nothing is given back twice')
      call check(blocks(segment) == 0, 'nothing was made by what was refused')
      call shmcore_allocate(closed, 'array', [10], array, stat)
      call check(stat == 22 .and. .not. associated(array), 'a segment that was never opened')
      call shmcore_close(segment)
      call shmcore_allocate(segment, 'array', [10], array, stat)
      call check(stat == 22, 'a segment that has been closed')
      call shmcore_close(segment, stat)
      call check(stat == 0, 'which may be closed again')
   end subroutine

   subroutine test_read_only()
      type(shmcore_segment) :: segment, reader
      integer(int64), pointer :: array(:), seen(:)
      integer :: stat
      call shmcore_open('SHARED::node', reader, read_only=.true., stat=stat)
      call check(stat == 2, 'a reader makes no segment')
      call open_segment(segment)
      call shmcore_allocate(segment, 'array', [10], array)
      call shmcore_open('SHARED::node', reader, read_only=.true.)
      call shmcore_find(reader, 'array', [10], seen)
      array(3) = 33
      call check(seen(3) == 33 .and. .not. associated(seen, array), 'a reader sees what is written')
      call shmcore_attach(reader, 'array', [10], seen, stat)
      call check(stat == 30, 'a reader holds nothing')
      call shmcore_find(reader, 'none', [1], seen, stat)
      call check(stat == 2 .and. .not. associated(seen), 'a reader finds nothing')
      call shmcore_close(reader)
      call shmcore_close(segment)
   end subroutine

   subroutine test_segments()
      type(shmcore_segment) :: segment, again
      type(shmcore_statistics) :: statistics
      integer :: stat
      character(200) :: errmsg
      call shmcore_open('node', segment, stat=stat, errmsg=errmsg)
      call check(stat == 22 .and. index(errmsg, 'SHARED') > 0, 'the name of a segment')
      call shmcore_open('SHARED::node', segment, directory='/proc', stat=stat)
      call check(stat == 95, 'the directory of a segment')
      call shmcore_open('SHARED::node', segment, size=int(32*1024*1024, int64), persist=.true., job='fortran-of-this')
      call shmcore_stat(segment, statistics)
      call check(statistics%capacity == 32*1024*1024 .and. statistics%processes == 1, 'statistics')
      call check(shmcore_address_stable(segment), 'addresses are the same everywhere')
      call shmcore_open('SHARED::node', again, size=int(64*1024*1024, int64), job='fortran-of-this', stat=stat)
      call check(stat == 22, 'another size of a segment')
      call shmcore_close(segment)
      call shmcore_open('SHARED::node', again, read_only=.true., job='fortran-of-this', stat=stat)
      call check(stat == 0, 'persist')
      call shmcore_close(again)
      call shmcore_remove('SHARED::node', job='fortran-of-this')
      call shmcore_remove('SHARED::node', job='fortran-of-this', stat=stat)
      call check(stat == 2, 'remove')
   end subroutine

   ! ---- with other processes

   subroutine hold()
      type(shmcore_segment) :: segment
      real(real64), pointer :: grid(:, :)
      integer :: i, j
      call open_segment(segment)
      call shmcore_allocate(segment, 'grid', [3, 4], grid)
      do j = 1, 4
         do i = 1, 3
            grid(i, j) = 10*i + j
         end do
      end do
      print '(a)', 'ready'
      flush (output_unit)
      read (*, *)
      print '(a, f0.1)', 'written ', grid(3, 4)
      call shmcore_close(segment)
   end subroutine

   subroutine sum_up()
      type(shmcore_segment) :: segment
      integer(int32), pointer :: table(:)
      call get_command_argument(2, role)
      call shmcore_open('SHARED::node', segment, read_only=.true.)
      call shmcore_find(segment, role, [-1], table)
      print '(i0, 1x, i0)', size(table), sum(int(table, int64))
      call shmcore_close(segment)
   end subroutine

   subroutine fatal()
      type(shmcore_segment) :: segment
      call shmcore_open('node', segment)
      print '(a)', 'it goes on'
   end subroutine
end program
