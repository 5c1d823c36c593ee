! SPDX-License-Identifier: MIT
!
! Segments, and blocks as plain addresses: everything of the binding that has nothing to do with the type of an element.
! Each failure comes out in one place, fail(), as an errno and a sentence; a procedure that fails has changed nothing.
! Keeps nothing of its own, so it is as thread-safe as the library. Users see what shmcore.f90 passes on.
module shmcore_segments
   use, intrinsic :: iso_c_binding
   use, intrinsic :: iso_fortran_env, only: error_unit, int32, int64
   implicit none
   private
   public :: shmcore_segment, shmcore_statistics, shmcore_open, shmcore_close, shmcore_remove, shmcore_bytes, &
      shmcore_stat, shmcore_address_stable, shmcore_handle
   public :: take, give_back, HOW_ALLOCATE, HOW_ATTACH, HOW_FIND

   type :: shmcore_segment
      private
      type(c_ptr) :: handle = c_null_ptr
   end type

   type, bind(C) :: shmcore_statistics
      integer(c_size_t) :: capacity = 0, used = 0, free = 0, reserved = 0 ! bytes
      integer(c_size_t) :: blocks = 0, processes = 0
   end type

   type, bind(C) :: c_traits
      integer(c_size_t) :: size
      integer(c_int) :: scope, resource
      logical(c_bool) :: read_only, persist, interleave
      type(c_ptr) :: dir, job
   end type

   integer, parameter :: HOW_ALLOCATE = 1, HOW_ATTACH = 2, HOW_FIND = 3
   integer(c_int), parameter :: EEXIST = 17, EINVAL = 22 ! of Linux

   interface
      function c_default_traits() bind(C, name='shmcore_default_traits')
         import :: c_traits
         type(c_traits) :: c_default_traits
      end function
      type(c_ptr) function c_open(name, traits) bind(C, name='shmcore_open')
         import :: c_ptr, c_char, c_traits
         character(kind=c_char), intent(in) :: name(*)
         type(c_traits), intent(in) :: traits
      end function
      integer(c_int) function c_close(segment) bind(C, name='shmcore_close')
         import :: c_int, c_ptr
         type(c_ptr), value :: segment
      end function
      integer(c_int) function c_remove(name, traits) bind(C, name='shmcore_remove')
         import :: c_int, c_char, c_traits
         character(kind=c_char), intent(in) :: name(*)
         type(c_traits), intent(in) :: traits
      end function
      integer(c_int) function c_stat(segment, statistics) bind(C, name='shmcore_stat')
         import :: c_int, c_ptr, shmcore_statistics
         type(c_ptr), value :: segment
         type(shmcore_statistics), intent(out) :: statistics
      end function
      logical(c_bool) function c_address_stable(segment) bind(C, name='shmcore_address_stable')
         import :: c_bool, c_ptr
         type(c_ptr), value :: segment
      end function
      type(c_ptr) function c_allocate(segment, name, bytes) bind(C, name='shmcore_allocate')
         import :: c_ptr, c_char, c_size_t
         type(c_ptr), value :: segment
         character(kind=c_char), intent(in) :: name(*)
         integer(c_size_t), value :: bytes
      end function
      type(c_ptr) function c_attach(segment, name, bytes) bind(C, name='shmcore_attach')
         import :: c_ptr, c_char, c_size_t
         type(c_ptr), value :: segment
         character(kind=c_char), intent(in) :: name(*)
         integer(c_size_t), intent(out) :: bytes
      end function
      type(c_ptr) function c_find(segment, name, bytes) bind(C, name='shmcore_find')
         import :: c_ptr, c_char, c_size_t
         type(c_ptr), value :: segment
         character(kind=c_char), intent(in) :: name(*)
         integer(c_size_t), intent(out) :: bytes
      end function
      integer(c_int) function c_deallocate(segment, address) bind(C, name='shmcore_deallocate')
         import :: c_int, c_ptr
         type(c_ptr), value :: segment, address
      end function
      type(c_ptr) function c_error() bind(C, name='shmcore_error')
         import :: c_ptr
      end function
      type(c_ptr) function c_errno_location() bind(C, name='__errno_location') ! glibc's errno
         import :: c_ptr
      end function
      integer(c_size_t) function c_strlen(text) bind(C, name='strlen')
         import :: c_size_t, c_ptr
         type(c_ptr), value :: text
      end function
   end interface
contains

   ! What C functions, as those of libshmcore-mpi, know the segment by.
   type(c_ptr) function shmcore_handle(segment)
      type(shmcore_segment), intent(in) :: segment
      shmcore_handle = segment%handle
   end function

   ! ---- failures

   subroutine fail(code, text, stat, errmsg)
      integer(c_int), intent(in) :: code
      character(*), intent(in) :: text
      integer, intent(inout), optional :: stat
      character(*), intent(inout), optional :: errmsg
      if (present(errmsg)) errmsg = text
      if (present(stat)) then
         stat = code
         return
      end if
      write (error_unit, '(2a)') 'shmcore: ', text
      error stop
   end subroutine

   ! To be called at once after the function that failed.
   subroutine fail_as_library(stat, errmsg)
      integer, intent(inout), optional :: stat
      character(*), intent(inout), optional :: errmsg
      integer(c_int), pointer :: errno
      character(kind=c_char), pointer :: letters(:)
      character(:), allocatable :: text
      integer(c_int) :: code
      integer :: i
      call c_f_pointer(c_errno_location(), errno)
      code = errno
      call c_f_pointer(c_error(), letters, [c_strlen(c_error())])
      allocate (character(size(letters)) :: text)
      do i = 1, size(letters)
         text(i:i) = letters(i)
      end do
      call fail(code, text, stat, errmsg)
   end subroutine

   ! ---- segments

   function terminated(text)
      character(*), intent(in), optional :: text
      character(:, c_char), allocatable :: terminated
      terminated = c_null_char
      if (present(text)) terminated = trim(text)//c_null_char
   end function

   subroutine shmcore_open(name, segment, size, read_only, persist, directory, job, stat, errmsg, interleave)
      character(*), intent(in) :: name
      type(shmcore_segment), intent(out) :: segment
      integer(int64), intent(in), optional :: size
      logical, intent(in), optional :: read_only, persist, interleave
      character(*), intent(in), optional :: directory, job
      integer, intent(out), optional :: stat
      character(*), intent(inout), optional :: errmsg
      character(:, c_char), allocatable, target :: c_directory, c_job
      character(:, c_char), allocatable :: c_name
      type(c_traits) :: traits
      c_name = terminated(name)
      c_directory = terminated(directory)
      c_job = terminated(job)
      traits = c_default_traits()
      if (present(size)) traits%size = size
      if (present(read_only)) traits%read_only = read_only
      if (present(persist)) traits%persist = persist
      if (present(interleave)) traits%interleave = interleave
      if (present(directory)) traits%dir = c_loc(c_directory)
      if (present(job)) traits%job = c_loc(c_job)
      segment%handle = c_open(c_name, traits)
      if (present(stat)) stat = 0
      if (.not. c_associated(segment%handle)) call fail_as_library(stat, errmsg)
   end subroutine

   subroutine shmcore_close(segment, stat, errmsg)
      type(shmcore_segment), intent(inout) :: segment
      integer, intent(out), optional :: stat
      character(*), intent(inout), optional :: errmsg
      if (present(stat)) stat = 0
      if (c_close(segment%handle) /= 0) then
         call fail_as_library(stat, errmsg)
      else
         segment%handle = c_null_ptr
      end if
   end subroutine

   subroutine shmcore_remove(name, directory, job, stat, errmsg)
      character(*), intent(in) :: name
      character(*), intent(in), optional :: directory, job
      integer, intent(out), optional :: stat
      character(*), intent(inout), optional :: errmsg
      character(:, c_char), allocatable, target :: c_directory, c_job
      character(:, c_char), allocatable :: c_name
      type(c_traits) :: traits
      c_name = terminated(name)
      c_directory = terminated(directory)
      c_job = terminated(job)
      traits = c_default_traits()
      if (present(directory)) traits%dir = c_loc(c_directory)
      if (present(job)) traits%job = c_loc(c_job)
      if (present(stat)) stat = 0
      if (c_remove(c_name, traits) /= 0) call fail_as_library(stat, errmsg)
   end subroutine

   subroutine shmcore_stat(segment, statistics, stat, errmsg)
      type(shmcore_segment), intent(in) :: segment
      type(shmcore_statistics), intent(out) :: statistics
      integer, intent(out), optional :: stat
      character(*), intent(inout), optional :: errmsg
      if (present(stat)) stat = 0
      if (c_stat(segment%handle, statistics) /= 0) call fail_as_library(stat, errmsg)
   end subroutine

   logical function shmcore_address_stable(segment)
      type(shmcore_segment), intent(in) :: segment
      shmcore_address_stable = c_address_stable(segment%handle)
   end function

   integer(int64) function shmcore_bytes(segment, name)
      type(shmcore_segment), intent(in) :: segment
      character(*), intent(in) :: name
      integer(c_size_t) :: bytes
      shmcore_bytes = -1
      if (c_associated(c_find(segment%handle, terminated(name), bytes))) shmcore_bytes = bytes
   end function

   ! ---- blocks

   ! The shape as numbers of one kind. Not `good`: it is none for an array of this rank; the last extent may be -1 if it
   ! is `open`.
   subroutine read_extents(shape, open, extents, good)
      class(*), intent(in) :: shape(:)
      logical, intent(in) :: open
      integer(int64), intent(out) :: extents(:)
      logical, intent(out) :: good
      extents = -2
      if (size(shape) == size(extents)) then
         select type (shape)
         type is (integer(int32))
            extents = shape
         type is (integer(int64))
            extents = shape
         end select
      end if
      good = all(extents(:size(extents) - 1) >= 0) .and. extents(size(extents)) >= merge(-1, 0, open)
   end subroutine

   ! -1: more than can be counted.
   integer(int64) function bytes_of(extents, element_bytes)
      integer(int64), intent(in) :: extents(:), element_bytes
      integer :: i
      bytes_of = 0
      if (any(extents == 0)) return
      bytes_of = element_bytes
      do i = 1, size(extents)
         if (extents(i) > huge(bytes_of)/bytes_of) then
            bytes_of = -1
            return
         end if
         bytes_of = bytes_of*extents(i)
      end do
   end function

   ! The address of a block, null when that fails, and the extents of an array in it.
   subroutine take(how, segment, name, shape, element_bytes, address, extents, stat, errmsg)
      integer, intent(in) :: how
      type(shmcore_segment), intent(in) :: segment
      character(*), intent(in) :: name
      class(*), intent(in) :: shape(:)
      integer(int64), intent(in) :: element_bytes
      type(c_ptr), intent(out) :: address
      integer(int64), intent(out) :: extents(:)
      integer, intent(out), optional :: stat
      character(*), intent(inout), optional :: errmsg
      character(:, c_char), allocatable :: c_name
      integer(int64) :: bytes, row
      integer(c_size_t) :: there
      integer :: last
      logical :: good
      last = size(extents)
      address = c_null_ptr
      c_name = terminated(name)
      if (present(stat)) stat = 0
      call read_extents(shape, how /= HOW_ALLOCATE, extents, good)
      if (.not. good) then
         call fail(EINVAL, 'that is no shape for block '''//trim(name)//'''', stat, errmsg)
         return
      end if
      row = max(bytes_of(extents(:last - 1), element_bytes), 1_int64)
      select case (how)
      case (HOW_ALLOCATE)
         bytes = bytes_of(extents, element_bytes)
         there = merge(bytes, huge(bytes), bytes >= 0) ! the library refuses it
         address = c_allocate(segment%handle, c_name, there)
      case (HOW_ATTACH)
         address = c_attach(segment%handle, c_name, there)
      case (HOW_FIND)
         address = c_find(segment%handle, c_name, there)
      end select
      if (.not. c_associated(address)) then
         call fail_as_library(stat, errmsg)
         return
      end if
      if (extents(last) < 0) extents(last) = there/row
      bytes = bytes_of(extents, element_bytes)
      if (bytes >= 0 .and. bytes <= there) return
      if (how == HOW_ATTACH) call give_back(segment, address, good)
      address = c_null_ptr
      call fail(EEXIST, 'block '''//trim(name)//''' is too small for that shape', stat, errmsg)
   end subroutine

   subroutine give_back(segment, address, given, stat, errmsg)
      type(shmcore_segment), intent(in) :: segment
      type(c_ptr), intent(in) :: address
      logical, intent(out) :: given
      integer, intent(out), optional :: stat
      character(*), intent(inout), optional :: errmsg
      if (present(stat)) stat = 0
      given = c_deallocate(segment%handle, address) == 0
      if (.not. given) call fail_as_library(stat, errmsg)
   end subroutine
end module
