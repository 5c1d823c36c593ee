! SPDX-License-Identifier: MIT
!
! A table in a file that every rank needs: one rank of the whole job reads it, and each node has one copy. mpi_table.c in
! Fortran, with the same output.
!
!     mpirun -n 4 mpi_table_fortran FILE
!
! libshmcore-mpi is a C library: its functions for Fortran (they end with _f) take communicators by their numbers.
module table_file
   use, intrinsic :: iso_c_binding
   use, intrinsic :: iso_fortran_env, only: error_unit, int8, int64
   use mpi_f08
   implicit none
   character(:), allocatable :: file_name
   integer, parameter :: wide = selected_int_kind(38)

   interface
      integer(c_int) function find_leaders(segment, comm, out) bind(C, name='shmcore_mpi_leaders_f')
         import :: c_int, c_ptr
         type(c_ptr), value :: segment
         integer(c_int), value :: comm
         integer(c_int), intent(out) :: out
      end function
      integer(c_int) function allocate_filled(segment, comm, name, bytes, fill, argument, block) &
         bind(C, name='shmcore_mpi_allocate_filled_f')
         import :: c_int, c_ptr, c_funptr, c_char, c_size_t
         type(c_ptr), value :: segment, argument
         integer(c_int), value :: comm
         character(kind=c_char), intent(in) :: name(*)
         integer(c_size_t), value :: bytes
         type(c_funptr), value :: fill
         type(c_ptr), intent(out) :: block
      end function
      type(c_ptr) function last_error() bind(C, name='shmcore_mpi_error')
         import :: c_ptr
      end function
      integer(c_size_t) function length_of(text) bind(C, name='strlen')
         import :: c_size_t, c_ptr
         type(c_ptr), value :: text
      end function
   end interface
contains
   ! 0, or a value of errno.
   integer(c_int) function read_file(block, bytes, argument) bind(C)
      type(c_ptr), value :: block, argument
      integer(c_size_t), value :: bytes
      integer(c_int), parameter :: no_entry = 2, no_data = 61 ! of Linux
      integer(int8), pointer :: table(:)
      integer :: unit, status
      call c_f_pointer(block, table, [bytes])
      open (newunit=unit, file=file_name, access='stream', form='unformatted', action='read', status='old', iostat=status)
      read_file = merge(no_entry, 0_c_int, status /= 0)
      if (status /= 0 .or. c_associated(argument)) return
      if (bytes > 0) read (unit, iostat=status) table
      close (unit)
      if (status /= 0) read_file = no_data ! shorter than it was
   end function

   subroutine fail(what, why)
      character(*), intent(in) :: what, why
      write (error_unit, '(4a)') 'mpi_table: ', what, ': ', why
      call MPI_Abort(MPI_COMM_WORLD, 1)
   end subroutine

   function why_mpi() result(sentence)
      character(:), allocatable :: sentence
      character(kind=c_char), pointer :: letters(:)
      type(c_ptr) :: text
      integer :: i
      text = last_error()
      call c_f_pointer(text, letters, [length_of(text)])
      allocate (character(size(letters)) :: sentence)
      do i = 1, size(letters)
         sentence(i:i) = letters(i)
      end do
   end function

   ! Without a sign, modulo 2**64.
   integer(wide) function sum_of(table)
      integer(int8), intent(in) :: table(:)
      integer(wide), parameter :: all_64 = 2_wide**64 - 1
      integer(int64) :: i
      sum_of = 0
      do i = 1, size(table, kind=int64)
         sum_of = iand(sum_of*31 + iand(int(table(i), wide), 255_wide), all_64)
      end do
   end function
end module

program mpi_table
   use shmcore
   use table_file
   implicit none
   type(shmcore_segment) :: segment
   type(MPI_Comm) :: leaders
   integer :: rank, ranks, copies, wrong
   integer(int64) :: bytes
   integer(wide) :: sum_each, sum_one
   double precision :: seconds_each, seconds_one, mebibytes

   call MPI_Init()
   call MPI_Comm_rank(MPI_COMM_WORLD, rank)
   call MPI_Comm_size(MPI_COMM_WORLD, ranks)
   if (command_argument_count() /= 1) call fail('usage', 'mpirun -n RANKS mpi_table_fortran FILE')
   call find_file()
   call shmcore_open('SHARED::node', segment)
   if (find_leaders(shmcore_handle(segment), MPI_COMM_WORLD%MPI_VAL, leaders%MPI_VAL) /= 0) call fail('leaders', why_mpi())
   copies = 0
   if (leaders /= MPI_COMM_NULL) call MPI_Comm_size(leaders, copies)
   call with_a_copy_each()
   call with_one_copy()
   wrong = merge(1, 0, sum_each /= sum_one)
   call MPI_Allreduce(MPI_IN_PLACE, wrong, 1, MPI_INTEGER, MPI_SUM, MPI_COMM_WORLD)
   if (rank == 0) call report()
   call shmcore_close(segment)
   call MPI_Finalize() ! frees the communicators, too
   if (rank == 0 .and. wrong /= 0) error stop
contains
   ! Rank 0 looks, so that all speak of the same size.
   subroutine find_file()
      integer :: length
      call get_command_argument(1, length=length)
      allocate (character(length) :: file_name)
      call get_command_argument(1, file_name)
      bytes = -1
      if (rank == 0) inquire (file=file_name, size=bytes)
      if (rank == 0 .and. bytes < 0) call fail(file_name, 'there is no such file')
      call MPI_Bcast(bytes, 1, MPI_INTEGER8, 0, MPI_COMM_WORLD)
   end subroutine

   subroutine with_a_copy_each()
      integer(int8), allocatable, target :: table(:)
      double precision :: start
      call MPI_Barrier(MPI_COMM_WORLD)
      start = MPI_Wtime()
      allocate (table(bytes))
      if (read_file(c_loc(table), int(bytes, c_size_t), c_null_ptr) /= 0) call fail(file_name, 'cannot be read')
      call MPI_Barrier(MPI_COMM_WORLD)
      seconds_each = MPI_Wtime() - start
      sum_each = sum_of(table)
   end subroutine

   subroutine with_one_copy()
      integer(int8), pointer :: table(:)
      type(c_ptr) :: block
      double precision :: start
      call MPI_Barrier(MPI_COMM_WORLD)
      start = MPI_Wtime()
      if (allocate_filled(shmcore_handle(segment), MPI_COMM_WORLD%MPI_VAL, 'table'//c_null_char, &
                              int(bytes, c_size_t), c_funloc(read_file), c_null_ptr, block) /= 0) &
         call fail(file_name, why_mpi())
      call MPI_Barrier(MPI_COMM_WORLD)
      seconds_one = MPI_Wtime() - start
      call c_f_pointer(block, table, [bytes])
      sum_one = sum_of(table)
   end subroutine

   subroutine report()
      mebibytes = real(bytes, kind(mebibytes))/1048576
      print '(i0, a, i0, 4a)', ranks, ' ranks in ', copies, ' segments, a table of ', text(mebibytes, 1), ' MiB'
      print '(a, a, a, a, a)', 'every rank reads:  ', text(seconds_each, 3), ' s, ', text(ranks*mebibytes, 1), ' MiB in all'
      print '(a, a, a, a, a)', 'one rank reads:    ', text(seconds_one, 3), ' s, ', text(copies*mebibytes, 1), ' MiB in all'
      if (wrong == 0) print '(2a)', 'checksum ', hexadecimal(sum_one)
      if (wrong /= 0) print '(3a)', 'checksum ', hexadecimal(sum_one), ', but not in all ranks'
   end subroutine

   ! As C prints it: with a digit before the point.
   function text(number, digits)
      double precision, intent(in) :: number
      integer, intent(in) :: digits
      character(:), allocatable :: text
      character(40) :: line
      write (line, '(f40.'//achar(iachar('0') + digits)//')') number
      text = trim(adjustl(line))
   end function

   character(16) function hexadecimal(number)
      integer(wide), intent(in) :: number
      character(*), parameter :: digits = '0123456789abcdef'
      integer :: place, digit
      do place = 1, 16
         digit = int(iand(shiftr(number, 64 - 4*place), 15_wide)) + 1
         hexadecimal(place:place) = digits(digit:digit)
      end do
   end function
end program
