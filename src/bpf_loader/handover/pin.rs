//! Pins: names in the BPF filesystem that keep maps, programs and links when their process ends.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use zerocopy::{FromZeros, Immutable, IntoBytes};

const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;

/// The member of `union bpf_attr` for both.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct Object {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// Pins what `fd` stands for. Unlike aya's way it does not consume a link, which would be detached
/// if the pin failed.
pub(super) fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    call(BPF_OBJ_PIN, fd.as_raw_fd().cast_unsigned(), path).map(drop)
}

/// Opens a pin.
pub(super) fn open(path: &Path) -> io::Result<OwnedFd> {
    let descriptor = i32::try_from(call(BPF_OBJ_GET, 0, path)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made it, and it is known nowhere else.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn call(command: libc::c_long, fd: u32, path: &Path) -> io::Result<libc::c_long> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let mut object = Object::new_zeroed();
    object.pathname = path.as_ptr() as u64;
    object.bpf_fd = fd;
    // SAFETY: `object` is the beginning of the kernel's layout of the command, whose rest it takes
    // for zero; it lives through the call, as does the path, which the kernel only reads.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(&mut object), std::mem::size_of::<Object>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
